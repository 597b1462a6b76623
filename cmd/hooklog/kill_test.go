package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/cmd/internal/demo"
	"hooklog/relay/preset"
	"hooklog/relay/signature"
)

// kafkas are the brokers that a test of a guarantee runs on: the embedded one,
// and Apache Kafka where KAFKA_BROKERS names it.
func kafkas(t *testing.T, f func(t *testing.T, kafka, brokers string)) {
	t.Run("embedded", func(t *testing.T) {
		addr := freeAddress(t)
		f(t, "embedded: {listen: "+addr+"}", addr)
	})
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		t.Run("apache", func(t *testing.T) {
			f(t, "brokers: ["+brokers+"]", brokers)
		})
	}
}

// topicName is a topic that no other run of a test shares.
func topicName(t *testing.T) string {
	return fmt.Sprintf("%s-%d", strings.Map(func(r rune) rune {
		if r == '/' {
			return '-'
		}
		return r
	}, t.Name()), time.Now().UnixNano())
}

// sender posts events of its own and sends each again until it is accepted, as
// providers do.
type sender struct {
	url      string
	verifier *signature.Verifier
	client   *http.Client

	attempts, accepted, duplicates, failures atomic.Int64

	mu    sync.Mutex
	acked map[string]acked // by event ID
	order []string
}

type acked struct {
	sum       [32]byte
	partition int32
	offset    int64
}

func newSender(t *testing.T, url string) *sender {
	t.Helper()
	p, _ := preset.Lookup("standard-webhooks")
	v, err := signature.New(p.Scheme, []signature.Secret{{Value: signature.NewSecretValue(demo.Secret)}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{
		url: url, verifier: v, acked: make(map[string]acked),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// run sends events from several workers until ctx is done; an event that was
// begun is finished, as long as giveUp is not.
func (s *sender) run(ctx, giveUp context.Context, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			g := demo.NewGenerator(rand.Uint64())
			for i := 0; ctx.Err() == nil; i++ {
				ev := g.Next()
				s.deliver(giveUp, fmt.Sprintf("msg_%d_%d_%d", w, i, rand.Uint64()), ev.Body)
			}
		})
	}
	wg.Wait()
}

// deliver sends one event until it has a 2xx.
func (s *sender) deliver(ctx context.Context, id string, body []byte) {
	for ctx.Err() == nil {
		s.attempts.Add(1)
		if s.try(ctx, id, body) {
			return
		}
		s.failures.Add(1)
		select {
		case <-time.After(20 * time.Millisecond): // a provider's back-off, in small
		case <-ctx.Done():
		}
	}
}

func (s *sender) try(ctx context.Context, id string, body []byte) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return false
	}
	fields, err := s.verifier.Sign(&signature.Request{Method: []byte("POST"), Body: body}, id, time.Now())
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	for _, f := range fields {
		req.Header.Set(string(f.Name), string(f.Value))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		return false
	}
	var a struct {
		ID, Outcome string
		Partition   int32
		Offset      int64
	}
	if json.Unmarshal(text, &a) != nil || a.ID != id {
		return false
	}
	if a.Outcome == "accepted" {
		s.accepted.Add(1)
	} else {
		s.duplicates.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[id] = acked{sum: sha256.Sum256(body), partition: a.Partition, offset: a.Offset}
	s.order = append(s.order, id)
	return true
}

// reconcile reads the topic with a client of its own and holds it against what
// was acknowledged: every acknowledged event is there once, at the position it
// was acknowledged with, byte for byte; no event is there twice.
func (s *sender) reconcile(t *testing.T, brokers, topic string) {
	t.Helper()
	records := readAll(t, brokers, topic)
	type place struct {
		partition int32
		offset    int64
	}
	found := make(map[string]place, len(records))
	doubled, wrong, missing := 0, 0, 0
	for _, r := range records {
		id := string(r.Key)
		if first, ok := found[id]; ok {
			doubled++
			t.Errorf("event %s is in the topic twice: at %d@%d and %d@%d", id, first.partition, first.offset, r.Partition, r.Offset)
			continue
		}
		found[id] = place{r.Partition, r.Offset}
		if a, ok := s.acked[id]; ok && sha256.Sum256(r.Value) != a.sum {
			wrong++
			t.Errorf("event %s: its record is not the body that was sent", id)
		}
	}
	for id, a := range s.acked {
		p, ok := found[id]
		if !ok {
			missing++
			t.Errorf("event %s was acknowledged at %d@%d and is not in the topic", id, a.partition, a.offset)
		} else if p != (place{a.partition, a.offset}) {
			wrong++
			t.Errorf("event %s was acknowledged at %d@%d and is at %d@%d", id, a.partition, a.offset, p.partition, p.offset)
		}
	}
	t.Logf("%d attempts: %d accepted, %d duplicates, %d failed; %d events acknowledged, %d records; missing %d, doubled %d, wrong %d",
		s.attempts.Load(), s.accepted.Load(), s.duplicates.Load(), s.failures.Load(), len(s.acked), len(records), missing, doubled, wrong)
}

// readAll returns every record of a topic.
func readAll(t *testing.T, brokers, topic string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := withTimeout(t, 60*time.Second)
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var out []*kgo.Record
	for int64(len(out)) < want {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %d of %d records of %s", len(out), want, topic)
		}
		out = append(out, fs.Records()...)
	}
	return out
}

func killConfig(listen, admin, data, kafka, topic string) string {
	return fmt.Sprintf(`
listen: %s
admin: %s
data: %s
kafka:
  %s
  topic: %s
sources:
  demo: {preset: standard-webhooks, secrets: [%s]}
`, listen, admin, data, kafka, topic, demo.Secret)
}

// TestKillNine kills hooklog under load again and again. What was acknowledged
// is in the topic once.
func TestKillNine(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	kafkas(t, func(t *testing.T, kafka, brokers string) {
		dir := t.TempDir()
		listen, admin, topic := freeAddress(t), freeAddress(t), topicName(t)
		file := writeFile(t, dir, "hooklog.yaml", killConfig(listen, admin, dir+"/data", kafka, topic))
		s := newSender(t, "http://"+listen+"/hooks/demo")
		ctx, stop := context.WithCancel(context.Background())
		sending := make(chan struct{})
		go func() {
			defer close(sending)
			s.run(ctx, withTimeout(t, 2*time.Minute), 16)
		}()
		var p *process
		for round := range rounds {
			p = hooklog(t, dir, "serve", "--config", file)
			p.ready(t, admin)
			// Killed in the middle of things: after some hundred events more.
			until := s.accepted.Load() + 300 + rand.Int64N(700)
			eventually(t, func() error {
				if s.accepted.Load() < until {
					return errNotYet
				}
				return nil
			})
			if round == rounds/2 {
				// The index is disposable, at any time.
				p.kill(t)
				if err := os.RemoveAll(dir + "/data/index"); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if round < rounds-1 {
				p.kill(t)
			}
		}
		stop()
		<-sending
		s.reconcile(t, brokers, topic)
		// And once more after everything: all of it is known.
		for _, id := range s.order[len(s.order)-min(len(s.order), 50):] {
			before := s.duplicates.Load()
			if !s.try(withTimeout(t, 10*time.Second), id, []byte("another body")) || s.duplicates.Load() != before+1 {
				t.Errorf("event %s is not known after the kills", id)
			}
		}
		if code := p.terminate(t, os.Interrupt); code != 0 {
			t.Errorf("exit code after Ctrl-C: got %d, want 0\n%s", code, p.stderr.String())
		}
	})
}

// TestTerminate ends hooklog in order under load: everything that was
// acknowledged is in the topic, and it exits 0 in time.
func TestTerminate(t *testing.T) {
	kafkas(t, func(t *testing.T, kafka, brokers string) {
		dir := t.TempDir()
		listen, admin, topic := freeAddress(t), freeAddress(t), topicName(t)
		file := writeFile(t, dir, "hooklog.yaml", killConfig(listen, admin, dir+"/data", kafka, topic))
		s := newSender(t, "http://"+listen+"/hooks/demo")
		ctx, stop := context.WithCancel(context.Background())
		sending := make(chan struct{})
		p := hooklog(t, dir, "serve", "--config", file)
		p.ready(t, admin)
		go func() {
			defer close(sending)
			s.run(ctx, ctx, 16)
		}()
		eventually(t, func() error {
			if s.accepted.Load() < 500 {
				return errNotYet
			}
			return nil
		})
		start := time.Now()
		if code := p.terminate(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code after SIGTERM: got %d, want 0\n%s", code, p.stderr.String())
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("shutdown took %v, want at most 15 s", took)
		}
		stop()
		<-sending
		// The log is read through a second start: with the embedded broker it
		// ended too.
		p = hooklog(t, dir, "serve", "--config", file)
		p.ready(t, admin)
		s.reconcile(t, brokers, topic)
	})
}
