package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// secret signs the load. It is public, and used on loopback alone.
const secret = "whsec_aG9va2xvZyBiZW5jaG1hcmsgc2VjcmV0"

const (
	loadPath   = "/hooks/bench"
	partitions = 6
)

// server is one of the programs compared.
type server struct {
	name    string
	address string
	*process
}

// bed is where everything runs: a folder, and the brokers.
type bed struct {
	dir     string
	hooklog string // the binary
	brokers []string
	// what names the broker in the report.
	what    string
	started []*process // in order
}

// close ends all programs, the last first, and removes the folder.
func (b *bed) close() {
	for i := len(b.started) - 1; i >= 0; i-- {
		b.started[i].stop()
	}
	_ = os.RemoveAll(b.dir)
}

func (b *bed) start(ctx context.Context, name, url string, argv ...string) (*process, error) {
	p, err := startProcess(ctx, b.dir, name, url, argv...)
	if err == nil {
		b.started = append(b.started, p)
	}
	return p, err
}

// findBrokers takes the brokers it is given, or starts the embedded one in a
// process of its own.
func (b *bed) findBrokers(ctx context.Context, given string) error {
	if given != "" {
		b.brokers, b.what = strings.Split(given, ","), "Kafka at "+given
		return nil
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	config, err := b.writeConfig("broker", fmt.Sprintf("admin: %s\ndata: %s\nkafka:\n  embedded: {listen: %s}\n", admin, filepath.Join(b.dir, "broker"), address))
	if err != nil {
		return err
	}
	b.brokers, b.what = []string{address}, "the embedded broker (one node, fsync per batch)"
	_, err = b.start(ctx, "broker", "http://"+admin+"/livez", b.hooklog, "serve", "--config", config)
	return err
}

func (b *bed) writeConfig(name, text string) (string, error) {
	file := filepath.Join(b.dir, name+".yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// startServer starts a server of a kind: "relay", "bare", or "bare:1ms" for a
// producer that lingers.
func (b *bed) startServer(ctx context.Context, kind string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	// A name for each, since one kind may run twice; the topic is new on a
	// broker that outlives this program.
	name := strconv.Itoa(len(b.started)) + "-" + strings.ReplaceAll(kind, ":", "-")
	topic := fmt.Sprintf("bench-%s-%d", name, time.Now().Unix())
	s := &server{name: kind, address: address}
	base, linger, _ := strings.Cut(kind, ":")
	switch base {
	case "relay":
		admin, err := freeAddress()
		if err != nil {
			return nil, err
		}
		config, err := b.writeConfig(name, fmt.Sprintf(`listen: %s
admin: %s
data: %s
kafka:
  brokers: [%s]
  topic: %s
  partitions: %d
sources:
  bench:
    preset: standard-webhooks
    secrets: [%s]
`, address, admin, filepath.Join(b.dir, name), strings.Join(b.brokers, ", "), topic, partitions, secret))
		if err != nil {
			return nil, err
		}
		s.process, err = b.start(ctx, name, "http://"+admin+"/readyz", b.hooklog, "relay", "--config", config)
		return s, err
	case "bare":
		if linger == "" {
			linger = "0s"
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.process, err = b.start(ctx, name, "http://"+address+"/", self, bareCommand,
			"--listen", address, "--brokers", strings.Join(b.brokers, ","), "--topic", topic, "--linger", linger)
		return s, err
	}
	return nil, fmt.Errorf("unknown server %q: want relay, bare or bare:LINGER", kind)
}
