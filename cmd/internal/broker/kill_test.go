package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// position is where a record was acknowledged.
type position struct {
	partition int32
	offset    int64
}

// A load produces numbered records until it is stopped, with acks from all,
// idempotently and with one client over all kills, and notes every answer.
type load struct {
	mu       sync.Mutex
	acked    map[string]position
	failed   []error
	produced int

	stop chan struct{}
	done chan struct{}
}

func startLoad(ctx context.Context, cl *kgo.Client, topic string, partitions int) *load {
	l := &load{acked: make(map[string]position), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				l.produced = i
				return
			default:
			}
			value := strconv.Itoa(i)
			// Blocks while the buffer is full.
			cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: []byte(value)}, func(r *kgo.Record, err error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if err != nil {
					l.failed = append(l.failed, err)
					return
				}
				l.acked[value] = position{r.Partition, r.Offset}
			})
		}
	}()
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *load) waitFor(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for l.count() < n {
		if time.Now().After(deadline) {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("%d records acknowledged until the deadline, want %d; failed: %v", len(l.acked), n, l.failed)
		}
		<-time.After(time.Millisecond)
	}
}

func (l *load) end(t *testing.T, cl *kgo.Client) {
	t.Helper()
	close(l.stop)
	<-l.done
	if err := cl.Flush(withDeadline(t)); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// Every acknowledged record is where it was acknowledged, once, whenever the
// process was killed.
func TestKill(t *testing.T) {
	const partitions, kills, acksBetween = 3, 6, 300
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0")
	cl := client(t, c.addr, kgo.MaxBufferedRecords(500), kgo.ProducerBatchMaxBytes(2000))
	createTopic(t, cl, partitions, "webhooks", nil)
	l := startLoad(withDeadline(t), cl, "webhooks", partitions)
	var groupAt int64
	for n := 1; n <= kills; n++ {
		l.waitFor(t, n*acksBetween)
		groupAt++
		commit(t, cl, "group", "webhooks", map[int32]int64{0: groupAt, 2: 10 * groupAt})
		l.waitFor(t, l.count()+17)
		c.kill()
		c = startChild(t, dir, c.addr)
		want := map[int32]int64{0: groupAt, 2: 10 * groupAt}
		if diff := cmp.Diff(want, committed(t, cl, "group", "webhooks")); diff != "" {
			t.Fatalf("committed offsets after kill %d (-want +got):\n%s", n, diff)
		}
	}
	l.waitFor(t, l.count()+acksBetween)
	l.end(t, cl)
	if len(l.failed) > 0 {
		t.Errorf("%d records failed, the first with %v", len(l.failed), l.failed[0])
	}
	check := func(when string) {
		t.Helper()
		seen := make(map[string]position)
		for p, rs := range records(t, c.addr, "webhooks") {
			for i, r := range rs {
				if r.Offset != int64(i) {
					t.Fatalf("%s: partition %d has offset %d at place %d", when, p, r.Offset, i)
				}
				at := position{p, r.Offset}
				if first, ok := seen[string(r.Value)]; ok {
					t.Errorf("%s: record %s is at %v and at %v", when, r.Value, first, at)
				}
				seen[string(r.Value)] = at
			}
		}
		for v, want := range l.acked {
			if got, ok := seen[v]; !ok || got != want {
				t.Errorf("%s: record %s was acknowledged at %v and is at %v (found: %v)", when, v, want, got, ok)
			}
		}
		if len(seen) != l.produced {
			t.Errorf("%s: %d records, produced were %d", when, len(seen), l.produced)
		}
	}
	check("after the load")
	c.kill()
	c = startChild(t, dir, c.addr)
	check("after one more kill")
	t.Logf("%d records over %d kills", l.produced, kills+1)
}

// What a transaction that a kill cut off leaves behind hides nothing that is
// committed later, also under the same transactional ID.
func TestKillWithinATransaction(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0")
	addr := c.addr
	cl := client(t, addr)
	createTopic(t, cl, 2, "out", nil)
	txn := func(value string, end bool) *kgo.Client {
		t.Helper()
		p := client(t, addr, kgo.TransactionalID("same"), kgo.TransactionTimeout(5*time.Minute))
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for partition := range int32(2) {
			produce(t, p, "out", partition, fmt.Sprint(value, partition))
		}
		if !end {
			return p
		}
		if err := p.EndTransaction(withDeadline(t), kgo.TryCommit); err != nil {
			t.Fatalf("commit %s: %v", value, err)
		}
		p.Close()
		return nil
	}
	txn("a", true)
	open := txn("b", false)
	produce(t, cl, "out", 0, "plain")
	c.kill()
	c = startChild(t, dir, addr)
	want := func(when, p0, p1 string) {
		t.Helper()
		got := records(t, addr, "out", kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if values(got[0]) != p0 || values(got[1]) != p1 {
			t.Errorf("%s: committed are %q and %q, want %q and %q", when, values(got[0]), values(got[1]), p0, p1)
		}
	}
	want("after the kill", "a0 plain", "a1")

	// The producer that was cut off cannot go on with its other half.
	err := open.ProduceSync(withDeadline(t), &kgo.Record{Topic: "out", Partition: 0, Value: []byte("late")}).FirstErr()
	if err == nil {
		err = open.EndTransaction(withDeadline(t), kgo.TryCommit)
	}
	if err == nil {
		t.Error("the transaction that was open at the kill was committed after it")
	}
	open.Close()
	want("after the old producer tried", "a0 plain", "a1")

	txn("c", true)
	want("after the next transaction", "a0 plain c0", "a1 c1")
	c.kill()
	c = startChild(t, dir, addr)
	want("after the next kill", "a0 plain c0", "a1 c1")
	c.kill()
	b := start(t, dir)
	addr = b.Addr()
	txn("d", true)
	want("in another process", "a0 plain c0 d0", "a1 c1 d1")
	closeBroker(t, b)
	b = start(t, dir)
	addr = b.Addr()
	want("after a clean stop", "a0 plain c0 d0", "a1 c1 d1")
}

// A full disk refuses records, and acknowledges none that it does not keep.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0", childLimit+"=100000")
	cl := client(t, c.addr, kgo.RecordRetries(3))
	createTopic(t, cl, 1, "webhooks", nil)
	acked, failed := make(map[string]int64), 0
	for i := range 200 {
		value := fmt.Sprintf("%d-%01000d", i, 0)
		r := &kgo.Record{Topic: "webhooks", Value: []byte(value)}
		if err := cl.ProduceSync(withDeadline(t), r).FirstErr(); errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("record %d of a full disk: %v", i, err)
		} else if err != nil {
			failed++
		} else {
			acked[value] = r.Offset
		}
	}
	if failed == 0 || len(acked) == 0 {
		t.Fatalf("%d records acknowledged and %d refused, want some of both", len(acked), failed)
	}
	cl.Close()
	c.kill()
	b := start(t, dir)
	found := make(map[string]int64)
	for i, r := range records(t, b.Addr(), "webhooks")[0] {
		if r.Offset != int64(i) {
			t.Fatalf("offset %d at place %d", r.Offset, i)
		}
		found[string(r.Value)] = r.Offset
	}
	for v, offset := range acked {
		if got, ok := found[v]; !ok || got != offset {
			t.Errorf("record %.20s was acknowledged at %d and is at %d (found: %v)", v, offset, got, ok)
		}
	}
	cl = client(t, b.Addr())
	produce(t, cl, "webhooks", 0, "there is space again")
}
