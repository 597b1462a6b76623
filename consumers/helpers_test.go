package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hooklog/consumers"
	"hooklog/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "webhooks"

// log is an in-process broker with the topic.
type log struct {
	t       *testing.T
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
}

func newLog(t *testing.T, partitions int32, opts ...kfake.Opt) *log {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l := &log{t: t, cluster: c}
	l.client, err = kgo.NewClient(append(l.seeds(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	l.admin = kadm.NewClient(l.client)
	return l
}

func (l *log) seeds() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(l.cluster.ListenAddrs()...),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(250 * time.Millisecond),
		kgo.HeartbeatInterval(100 * time.Millisecond),
	}
}

func event(id, typ string) *schemas.Event {
	now := time.Now()
	return &schemas.Event{
		ID: schemas.EventID(id), Source: "demo", Type: schemas.EventType(typ), Time: now, Received: now,
		Scheme: "standard", Method: "POST", Target: "/hooks/demo", ContentType: "application/json", Body: []byte(`{"id":"` + id + `"}`),
	}
}

// put writes an event to a partition, and returns its offset.
func (l *log) put(partition int32, id, typ string) int64 {
	l.t.Helper()
	r := schemas.Encode(event(id, typ), topic)
	r.Partition = partition
	return l.putRecord(r)
}

func (l *log) putRecord(r *kgo.Record) int64 {
	l.t.Helper()
	if err := l.client.ProduceSync(l.ctx(), r).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
	return r.Offset
}

func (l *log) ctx() context.Context { return l.t.Context() }

// committed returns the group's offset, or -1.
func (l *log) committed(group string, partition int32) int64 {
	o, err := l.admin.FetchOffsets(l.ctx(), group)
	if err != nil {
		return -1
	}
	r, ok := o.Lookup(topic, partition)
	if !ok {
		return -1
	}
	return r.At
}

// wantCommitted waits for the group's offset.
func (l *log) wantCommitted(group string, partition int32, want int64) {
	l.t.Helper()
	eventually(l.t, func() error {
		if got := l.committed(group, partition); got != want {
			return fmt.Errorf("committed offset of partition %d is %d, want %d", partition, got, want)
		}
		return nil
	})
}

// read returns a topic's records, at least n of them.
func (l *log) read(name string, n int) []*kgo.Record {
	l.t.Helper()
	c, err := kgo.NewClient(append(l.seeds(), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(l.ctx(), patience)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			l.t.Fatalf("topic %s has %d records, want %d", name, len(all), n)
		}
		all = append(all, f.Records()...)
	}
	return all
}

// end returns the end of a topic's first partition; -1 if it does not exist.
func (l *log) end(name string) int64 {
	l.t.Helper()
	ends, err := l.admin.ListEndOffsets(l.ctx(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	o, ok := ends.Lookup(name, 0)
	if !ok || o.Err != nil {
		return -1
	}
	return o.Offset
}

// patience is for slow machines under the race detector; nothing waits for it
// to pass.
const patience = 30 * time.Second

// eventually polls until f returns nil, and reports what it last said.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// running is a group whose Run was started.
type running struct {
	*consumers.Group
	stop func() error // cancels, and returns what Run returned
}

func (l *log) options(routes ...consumers.Route) consumers.Options {
	return consumers.Options{
		Group: "g", Topics: []string{topic}, Client: l.seeds(), Routes: routes,
		Retry: consumers.Retry{Attempts: 3, Min: time.Millisecond, Max: 5 * time.Millisecond}, CommitEvery: 20 * time.Millisecond,
		Dir: l.t.TempDir(), Logger: slog.New(slog.NewTextHandler(testWriter{l.t}, nil)),
	}
}

func run(t *testing.T, o consumers.Options) *running {
	t.Helper()
	g, err := consumers.New(o)
	if err != nil {
		t.Fatal(err)
	}
	// With a cause, as a signal's context has.
	ctx, cancelCause := context.WithCancelCause(t.Context())
	cancel := func() { cancelCause(errors.New("interrupt")) }
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	var once sync.Once
	r := &running{Group: g}
	var result error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case result = <-done:
			case <-time.After(patience):
				t.Errorf("Run did not return within %v of its context's end", patience)
			}
		})
		return result
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// testWriter writes a group's log to the test's.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// seen collects the IDs of events. The zero value is ready.
type seen struct {
	mu  sync.Mutex
	ids []string
}

func (s *seen) add(ev schemas.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, string(ev.ID))
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.ids))
}

// want waits until exactly these were seen, in any order.
func (s *seen) want(t *testing.T, ids ...string) {
	t.Helper()
	slices.Sort(ids)
	eventually(t, func() error {
		if got := s.all(); !slices.Equal(got, ids) {
			return fmt.Errorf("saw %q, want %q", got, ids)
		}
		return nil
	})
}

// handler returns a handler that collects and then does f, which may be nil.
func (s *seen) handler(f func(context.Context, schemas.Event) error) consumers.Handler {
	return consumers.HandlerFunc(func(ctx context.Context, ev schemas.Event) error {
		s.add(ev)
		if f == nil {
			return nil
		}
		return f(ctx, ev)
	})
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// gated returns a handler that waits for the gate.
func gated(gate <-chan struct{}) consumers.Handler {
	return consumers.HandlerFunc(func(context.Context, schemas.Event) error {
		<-gate
		return nil
	})
}

func goexit() { runtime.Goexit() }
