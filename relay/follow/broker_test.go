package follow_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay/index"
	"hooklog/schemas"
)

// transact produces events in a transaction and ends it, or leaves it open:
// then the returned function ends it.
func transact(t *testing.T, c *kfake.Cluster, from, to int, end kgo.TransactionEndTry) func() {
	t.Helper()
	cl := newClient(t, c, kgo.TransactionalID(fmt.Sprintf("tx-%d", from)))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, cl, 0, from, to)
	return func() {
		t.Helper()
		if err := cl.EndTransaction(context.Background(), end); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTransactions follows topics that end in a transaction's marker, behind
// which no record will ever come.
func TestTransactions(t *testing.T) {
	t.Run("committed", func(t *testing.T) {
		c := startKafka(t, 1)
		produce(t, newClient(t, c), 0, 0, 3)
		transact(t, c, 10, 15, kgo.TryCommit)()
		r := startCaughtUp(t, c, vfs.NewMem())
		r.wantKnown(t, 0, 3)
		r.wantKnown(t, 10, 15)
		r.wantLow(t, 9)
		r.wantForeign(t, 8)
	})
	t.Run("aborted", func(t *testing.T) {
		c := startKafka(t, 1)
		produce(t, newClient(t, c), 0, 0, 3)
		transact(t, c, 10, 15, kgo.TryAbort)()
		r := startCaughtUp(t, c, vfs.NewMem())
		r.wantLow(t, 9)
		r.wantUnknown(t, 10, 15)
		r.wantForeign(t, 3)
		// Also while following.
		transact(t, c, 20, 25, kgo.TryAbort)()
		r.wantLow(t, 15)
		r.wantUnknown(t, 20, 25)
		r.wantForeign(t, 3)
	})
	t.Run("open", func(t *testing.T) {
		c := startKafka(t, 1)
		cl := newClient(t, c)
		produce(t, cl, 0, 0, 3)
		end := transact(t, c, 10, 15, kgo.TryAbort)
		produce(t, cl, 0, 3, 6)
		fs := vfs.NewMem()
		r := start(t, c, fs, nil)
		r.wantLow(t, 3)
		// A few rounds later it still waits, and its own records go on.
		if err := r.Commit(ownOf(produce(t, cl, 0, 30, 31))); err != nil {
			t.Fatal(err)
		}
		asked := r.Marks(topic)[0].Asked
		eventually(t, func() error {
			if m := r.Marks(topic)[0]; m.Asked.Sub(asked) < 100*time.Millisecond {
				return errors.New("the follower does not go on")
			}
			return nil
		})
		if m := r.Marks(topic)[0]; r.CaughtUp() || m.Low != 3 || m.End != 12 {
			t.Errorf("caught up %v with marks %+v behind an open transaction; want not, low 3, end 12", r.CaughtUp(), m)
		}
		r.wantUnknown(t, 3, 6)
		r.wantKnown(t, 30, 31)
		end()
		r.waitCaughtUp(t)
		r.wantKnown(t, 3, 6)
		r.wantUnknown(t, 10, 15)
		r.wantLow(t, 13)
	})
}

// outage makes brokers close every connection that asks them anything, as long
// as it is true.
func outage(c *kfake.Cluster) *atomic.Bool {
	down := new(atomic.Bool)
	c.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if down.Load() {
			return nil, errors.New("down"), true
		}
		return nil, nil, false
	})
	return down
}

func TestBrokersGoneAndBack(t *testing.T) {
	c := startKafka(t, 2, kfake.NumBrokers(2))
	cl := newClient(t, c)
	produce(t, cl, 0, 0, 5)
	down := outage(c)
	r := startCaughtUp(t, c, vfs.NewMem())
	down.Store(true)
	eventually(t, func() error {
		if r.Problem() == "" {
			return errors.New("no problem while the brokers are down")
		}
		return nil
	})
	if !r.CaughtUp() || r.offsetOf(t, 3) != 3 {
		t.Error("what was read is not answered while the brokers are down")
	}
	down.Store(false)
	back := time.Now()
	produce(t, cl, 1, 5, 10)
	r.wantKnown(t, 5, 10)
	t.Logf("following again %v after the brokers were back", time.Since(back))
	eventually(t, func() error {
		if p := r.Problem(); p != "" {
			return fmt.Errorf("problem %q", p)
		}
		return nil
	})
	if n := r.log.count("cannot follow the log"); n != 1 {
		t.Errorf("the outage was logged %d times, want once", n)
	}
}

// TestStartWithoutBrokers starts before the brokers answer, and stops.
func TestStartWithoutBrokers(t *testing.T) {
	c := startKafka(t, 1)
	produce(t, newClient(t, c), 0, 0, 5)
	down := outage(c)
	down.Store(true)
	fs := vfs.NewMem()
	r := start(t, c, fs, nil)
	eventually(t, func() error {
		if r.Problem() == "" {
			return errors.New("no problem without brokers")
		}
		return nil
	})
	if r.CaughtUp() || r.Marks(topic) != nil {
		t.Error("caught up without brokers")
	}
	if err := r.Commit(ownOf([]*kgo.Record{record(0, 1, time.Now())})); err != nil {
		t.Errorf("Commit before the topic is known: %v", err)
	}
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Run took %v to end", took)
	}
	r = start(t, c, fs, nil)
	down.Store(false)
	r.waitCaughtUp(t)
	r.wantKnown(t, 0, 5)
}

func TestLeaderMoves(t *testing.T) {
	c := startKafka(t, 1, kfake.NumBrokers(3))
	cl := newClient(t, c)
	r := startCaughtUp(t, c, vfs.NewMem())
	for i := range 6 {
		if err := c.MoveTopicPartition(topic, 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		produce(t, cl, 0, i*10, i*10+10)
		r.wantKnown(t, i*10, i*10+10)
	}
	r.wantForeign(t, 60)
	if n := r.log.count("lost records"); n != 0 {
		t.Errorf("a loss was reported %d times, want none", n)
	}
}

// TestFetchErrors lets every kind of error come back in place of records.
func TestFetchErrors(t *testing.T) {
	c := startKafka(t, 1)
	cl := newClient(t, c)
	r := startCaughtUp(t, c, vfs.NewMem())
	n := 0
	for _, err := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.UnknownTopicID,
		kerr.UnknownTopicOrPartition, kerr.OffsetOutOfRange, kerr.TopicAuthorizationFailed, kerr.KafkaStorageError,
	} {
		f := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: err, Count: 2})
		produce(t, cl, 0, n, n+5)
		r.wantKnown(t, n, n+5)
		if f.Hits() == 0 {
			t.Errorf("%v: no fetch has failed", err)
		}
		f.Remove()
		n += 5
	}
	r.wantForeign(t, int64(n))
	if got := r.log.count("lost records"); got != 0 {
		t.Errorf("a loss was reported %d times, want none", got)
	}
}

// TestKill clones the disk while own and foreign records come in, and checks
// that no checkpoint is ahead of its facts; a follower goes on from the clone.
func TestKill(t *testing.T) {
	c := startKafka(t, 1)
	own, foreign := newClient(t, c), newClient(t, c)
	fs := vfs.NewCrashableMem()
	r := startCaughtUp(t, c, fs)
	id := c.TopicInfo(topic).TopicID

	var mu sync.Mutex
	var at []int // the event at each offset
	note := func(rs []*kgo.Record, i int) {
		mu.Lock()
		defer mu.Unlock()
		for len(at) <= int(rs[0].Offset) {
			at = append(at, -1)
		}
		at[rs[0].Offset] = i
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	work := func(cl *kgo.Client, first int, done func([]*kgo.Record)) {
		for i := first; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			rec := record(0, i, time.Now())
			if err := cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
				t.Error(err)
				return
			}
			note([]*kgo.Record{rec}, i)
			done([]*kgo.Record{rec})
		}
	}
	wg.Go(func() {
		work(own, 0, func(rs []*kgo.Record) {
			if err := r.Commit(ownOf(rs)); err != nil {
				t.Error(err)
			}
		})
	})
	wg.Go(func() { work(foreign, 1_000_000, func([]*kgo.Record) {}) })

	rng := rand.New(rand.NewPCG(1, 2))
	var last int64
	var clone *vfs.MemFS
	deadline := time.Now().Add(3500 * time.Millisecond) // three checkpoints
	for i := 0; time.Now().Before(deadline); i++ {
		clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{100, 0, 60}[i%3], RNG: rng})
		mark := checkpoint(t, clone, id).Offset
		mu.Lock()
		events := slices.Clone(at)
		mu.Unlock()
		missing := unknownBefore(t, clone, events, mark)
		if missing >= 0 {
			t.Fatalf("checkpoint %d, but the event at %d is not known", mark, missing)
		}
		last = max(last, mark)
	}
	close(stop)
	wg.Wait()
	if last == 0 {
		t.Fatal("no clone held a checkpoint: the test tests nothing")
	}
	t.Logf("last checkpoint %d of %d records", last, len(at))
	r.stop()
	again := startCaughtUp(t, c, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng}))
	for o, i := range at {
		if got := again.offsetOf(t, i); got != int64(o) {
			t.Fatalf("event %d: offset %d, want %d", i, got, o)
		}
	}
}

// unknownBefore returns the first offset below mark whose event an index does
// not know, or -1.
func unknownBefore(t *testing.T, fs *vfs.MemFS, events []int, mark int64) int64 {
	t.Helper()
	x, err := index.Open(index.Options{Dir: "index", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for o := range mark {
		if int(o) >= len(events) || events[o] < 0 {
			continue // Its acknowledgement is under way.
		}
		_, ok, err := x.Lookup(schemas.KeyOf("demo", eventID(events[o])), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return o
		}
	}
	return -1
}
