package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/cmd/internal/demo"
)

// cluster is a Kafka that a test runs on.
type cluster struct {
	config   string // what stands under kafka:
	brokers  string
	embedded bool
}

// apache is the Apache Kafka that KAFKA_BROKERS names.
func apache(brokers string) cluster {
	k := cluster{config: "brokers: [" + brokers + "]", brokers: brokers}
	if strings.Count(brokers, ",") >= 2 {
		k.config += "\n  replication: 3"
	}
	return k
}

// kafkas are the brokers that a test of a guarantee runs on: the embedded one,
// and Apache Kafka where KAFKA_BROKERS names it.
func kafkas(t *testing.T, f func(t *testing.T, k cluster)) {
	t.Run("embedded", func(t *testing.T) {
		addr := freeAddress(t)
		f(t, cluster{config: "embedded: {listen: " + addr + "}", brokers: addr, embedded: true})
	})
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		t.Run("apache", func(t *testing.T) { f(t, apache(brokers)) })
	}
}

// topicName is a topic that no other run of a test shares.
func topicName(t *testing.T) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
}

// soakUntil is until when a test with a long form goes on after its usual
// rounds: as long as HOOKLOG_SOAK says (see the Makefile).
func soakUntil(t *testing.T) time.Time {
	text := os.Getenv("HOOKLOG_SOAK")
	if text == "" {
		return time.Time{}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("HOOKLOG_SOAK: %v", err)
	}
	return time.Now().Add(d)
}

func relayConfig(listen, admin, data string, k cluster, topic string) string {
	return fmt.Sprintf(`
listen: %s
admin: %s
data: %s
kafka:
  %s
  topic: %s
sources:
  demo: {preset: standard-webhooks, secrets: [%s]}
`, listen, admin, data, k.config, topic, demo.Secret)
}

// relay is one configuration whose process is started and killed again and
// again under load.
type relay struct {
	kafka                     cluster
	dir, listen, admin, topic string
	file                      string
	sender                    *sender
	rng                       *rand.Rand

	p       *process
	born    time.Time
	deaths  []death
	early   int         // deaths before it took an event
	orderly int         // orderly ends
	look    *kgo.Client // asks the brokers what a killed relay left
}

func newRelay(t *testing.T, k cluster) *relay {
	t.Helper()
	r := &relay{kafka: k, dir: t.TempDir(), listen: freeAddress(t), admin: freeAddress(t), topic: topicName(t)}
	r.file = writeFile(t, r.dir, "hooklog.yaml", relayConfig(r.listen, r.admin, r.dir+"/data", k, r.topic))
	r.sender = newSender(t, "http://"+r.listen+"/hooks/demo")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r.rng = rand.New(rand.NewPCG(seed, 0))
	if !k.embedded {
		var err error
		if r.look, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(k.brokers, ",")...), kgo.MetadataMinAge(250*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.look.Close)
	}
	return r
}

func (r *relay) start(t *testing.T) {
	t.Helper()
	r.born = time.Now()
	r.p = hooklog(t, r.dir, "serve", "--config", r.file)
}

// kill kills the relay, and notes where the logs end then.
func (r *relay) kill(t *testing.T) {
	t.Helper()
	r.p.kill(t)
	d := death{born: r.born, at: time.Now()}
	if !r.kafka.embedded {
		d.ends = logEnds(kadm.NewClient(r.look), r.topic)
	}
	r.deaths = append(r.deaths, d)
}

func (r *relay) removeIndex(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(r.dir + "/data/index"); err != nil {
		t.Fatal(err)
	}
}

// load starts sending; the returned function ends it after every event has
// had its 2xx.
func (r *relay) load(t *testing.T, workers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	giveUp, abandon := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.sender.run(ctx, giveUp, workers)
	}()
	t.Cleanup(func() { cancel(); abandon(); <-done })
	return func() {
		t.Helper()
		cancel()
		select {
		case <-done:
		case <-time.After(time.Minute):
			abandon()
			<-done
			t.Errorf("events are refused for ever\n%s", r.p.stderr.String())
		}
	}
}

// inTheMiddle waits until some events more have been accepted.
func (r *relay) inTheMiddle(t *testing.T) { r.acceptSome(t, 1+r.rng.Int64N(600)) }

func (r *relay) acceptSome(t *testing.T, n int64) {
	t.Helper()
	select {
	case <-r.sender.more(n):
	case <-r.p.done:
		t.Fatalf("hooklog ended: %v\n%s", r.p.err, r.p.stderr.String())
	case <-time.After(time.Minute):
		t.Fatalf("no %d events accepted within a minute\n%s", n, r.p.stderr.String())
	}
}

// soon waits a random time of at most d.
func (r *relay) soon(d time.Duration) {
	<-time.After(time.Duration(r.rng.Int64N(int64(d))))
}

// check holds the topic against what was acknowledged, asks for every event
// once more and ends the relay in order.
func (r *relay) check(t *testing.T) {
	t.Helper()
	t.Logf("killed %d times, %d of them before it took an event; ended in order %d times", len(r.deaths), r.early, r.orderly)
	res := r.sender.reconcile(t, r.kafka.brokers, r.topic, r.deaths...)
	if r.kafka.embedded && res.residue > 0 {
		t.Errorf("%d events are in the topic twice; the embedded broker dies with the relay and leaves nothing", res.residue)
	}
	r.sender.known(t, r.sender.url, res)
	if after := len(readAll(t, r.kafka.brokers, r.topic)); after != res.records {
		t.Errorf("the topic has %d records after every event was sent once more, want %d", after, res.records)
	}
	if code := r.p.terminate(t, os.Interrupt); code != 0 {
		t.Errorf("exit code after Ctrl-C: got %d, want 0\n%s", code, r.p.stderr.String())
	}
}

// metric waits until one of the relay's metrics is as wanted.
func (r *relay) metric(t *testing.T, name string, wanted func(float64) bool) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`)
	eventually(t, func() error {
		text, err := get("http://" + r.admin + "/metrics")
		if err != nil {
			return err
		}
		m := line.FindSubmatch(text)
		if m == nil {
			return errors.New("no metric " + name)
		}
		if got, err := strconv.ParseFloat(string(m[1]), 64); err != nil || !wanted(got) {
			return fmt.Errorf("%s is %s", name, m[1])
		}
		return nil
	})
}
