package follow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hooklog/relay/follow"
	"hooklog/relay/index"
	"hooklog/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "webhooks"

// startKafka starts brokers with one topic of that many partitions.
func startKafka(t testing.TB, partitions int32, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.CreateTopic(topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func newClient(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// record is event i as a record for a partition.
func record(partition int32, i int, at time.Time) *kgo.Record {
	r := schemas.Encode(&schemas.Event{
		ID: eventID(i), Source: "demo", Type: "test.made", Received: at, Scheme: "none",
		Method: "POST", Target: "/hooks/demo", Body: fmt.Appendf(nil, `{"n":%d}`, i),
	}, topic)
	r.Partition = partition
	return r
}

func eventID(i int) schemas.EventID { return schemas.EventID(fmt.Sprintf("evt_%d", i)) }

func key(i int) schemas.EventKey { return schemas.KeyOf("demo", eventID(i)) }

// produce appends events from to to-1 to a partition, as another relay would,
// and returns their records.
func produce(t testing.TB, cl *kgo.Client, partition int32, from, to int) []*kgo.Record {
	t.Helper()
	var rs []*kgo.Record
	for i := from; i < to; i++ {
		rs = append(rs, record(partition, i, time.Now()))
	}
	if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return rs
}

// ownOf is what a relay would commit for records it was acknowledged.
func ownOf(rs []*kgo.Record) []follow.Own {
	var own []follow.Own
	for _, r := range rs {
		source, id, _ := schemas.Identify(r)
		own = append(own, follow.Own{
			Key:      schemas.KeyOf(source, id),
			Position: schemas.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset},
			Time:     r.Timestamp, BodySum: schemas.BodySum(r.Value),
		})
	}
	return own
}

// running is a follower under test, with its index.
type running struct {
	*follow.Follower
	index *index.Index
	fs    *vfs.MemFS
	log   *logBuffer
	stop  func() // ends Run, checks what it returned and closes the index
}

// start runs a follower on an index in fs until the test ends or stop.
func start(t testing.TB, c *kfake.Cluster, fs *vfs.MemFS, change func(*follow.Options)) *running {
	t.Helper()
	log := &logBuffer{out: t.Output()}
	logger := slog.New(slog.NewTextHandler(log, nil))
	x, err := index.Open(index.Options{Dir: "index", FS: fs, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	o := follow.Options{
		Client: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, Index: x, Topics: []string{topic}, SaveInterval: time.Second, Logger: logger,
	}
	if change != nil {
		change(&o)
	}
	f, err := follow.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	r := &running{Follower: f, index: x, fs: fs, log: log}
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v, want nil after its context ended", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end within 10 s")
		}
		if err := x.Close(); err != nil {
			t.Errorf("close index: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func startCaughtUp(t testing.TB, c *kfake.Cluster, fs *vfs.MemFS) *running {
	t.Helper()
	r := start(t, c, fs, nil)
	r.waitCaughtUp(t)
	return r
}

func (r *running) waitCaughtUp(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		if !r.CaughtUp() {
			return fmt.Errorf("not caught up: %+v, problem %q", r.Stats(), r.Problem())
		}
		return nil
	})
}

// offsetOf returns where an event is known, -1 if it is not.
func (r *running) offsetOf(t testing.TB, i int) int64 {
	t.Helper()
	f, ok, err := r.index.Lookup(key(i), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return -1
	}
	return f.Offset
}

// wantKnown waits until events from to to-1 are known.
func (r *running) wantKnown(t testing.TB, from, to int) {
	t.Helper()
	eventually(t, func() error {
		for i := from; i < to; i++ {
			if r.offsetOf(t, i) < 0 {
				return fmt.Errorf("event %d is not known: %+v, problem %q", i, r.Stats(), r.Problem())
			}
		}
		return nil
	})
}

func (r *running) wantUnknown(t testing.TB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if o := r.offsetOf(t, i); o >= 0 {
			t.Fatalf("event %d: known at offset %d, want it unknown", i, o)
		}
	}
}

// wantLow waits until everything before an offset of partition 0 is covered.
func (r *running) wantLow(t testing.TB, want int64) {
	t.Helper()
	eventually(t, func() error {
		marks := r.Marks(topic)
		if len(marks) == 0 || marks[0].Low < want {
			return fmt.Errorf("marks %+v, want low %d; %+v, problem %q", marks, want, r.Stats(), r.Problem())
		}
		return nil
	})
}

func (r *running) wantForeign(t testing.TB, want int64) {
	t.Helper()
	if got := r.Stats().Foreign; got != want {
		t.Errorf("foreign: got %d, want %d", got, want)
	}
}

// checkpoint returns what a store in fs says of partition 0.
func checkpoint(t testing.TB, fs *vfs.MemFS, id [16]byte) index.Checkpoint {
	t.Helper()
	x, err := index.Open(index.Options{Dir: "index", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := x.Topic(topic, index.TopicID(id))
	if err != nil {
		t.Fatal(err)
	}
	marks, err := x.Checkpoints(ref)
	if err := errors.Join(err, x.Close()); err != nil {
		t.Fatal(err)
	}
	return marks[0]
}

// eventually polls until f returns nil, and fails with what it last said.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %v", err)
		}
		<-time.After(time.Millisecond)
	}
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	out interface{ Write([]byte) (int, error) }
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	return l.out.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}
