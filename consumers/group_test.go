package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/consumers"
	"hooklog/schemas"
)

// When Run is told to stop, handlers that run may finish, and their events are
// committed; events that wait for another attempt come again.
func TestStopDrains(t *testing.T) {
	l := newLog(t, 2)
	gate, began := make(chan struct{}), make(chan struct{}, 2)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(func(ctx context.Context, ev schemas.Event) error {
		began <- struct{}{}
		if ev.ID == "waits" {
			return consumers.RetryAfter(errors.New("later"), time.Hour)
		}
		<-gate
		return ctx.Err() // The context is not ended by the stop.
	})})
	l.put(0, "runs", "x")
	l.put(1, "waits", "x")
	g := run(t, o)
	<-began
	<-began
	go func() {
		<-time.After(20 * time.Millisecond)
		close(gate)
	}()
	if err := g.stop(); err == nil || !strings.Contains(err.Error(), "1 events are not finished") {
		t.Errorf("Run returned %v, want that one event is unfinished", err)
	}
	if got := l.committed("g", 0); got != 1 {
		t.Errorf("committed offset of the finished event's partition is %d, want 1", got)
	}
	if got := l.committed("g", 1); got != 0 {
		t.Errorf("committed offset of the waiting event's partition is %d, want 0", got)
	}
	var again seen
	o.Routes[0].Handler = again.handler(nil)
	run(t, o)
	again.want(t, "waits")
}

// What waits for its turn when Run is told to stop is not begun any more.
func TestStopBeginsNothing(t *testing.T) {
	l := newLog(t, 2)
	gate, began := make(chan struct{}), make(chan struct{}, 3)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(func(context.Context, schemas.Event) error {
		began <- struct{}{}
		<-gate
		return nil
	})})
	o.MaxInFlight = 1
	l.put(0, "a", "x")
	l.put(0, "b", "x")
	l.put(1, "c", "x")
	g := run(t, o)
	<-began
	counts := func() (inFlight, queued int) {
		for _, p := range g.Status().Partitions {
			inFlight, queued = inFlight+p.InFlight, queued+p.Queued
		}
		return inFlight, queued
	}
	eventually(t, func() error {
		// One runs, the other partition's waits for the slot, the third for its partition.
		if n, m := counts(); n != 2 || m != 1 {
			return fmt.Errorf("%d are in flight and %d queued, want 2 and 1", n, m)
		}
		return nil
	})
	stopped := make(chan error, 1)
	go func() { stopped <- g.stop() }()
	eventually(t, func() error {
		if n, m := counts(); n != 1 || m != 0 {
			return fmt.Errorf("%d are in flight and %d queued, want 1 and 0", n, m)
		}
		return nil
	})
	close(gate)
	if err := <-stopped; err != nil {
		t.Errorf("Run returned %v, want nil: what was begun is finished", err)
	}
	if got := s.all(); len(got) != 1 {
		t.Errorf("handled %q, want only the first", got)
	}
	if n := l.committed("g", 0) + l.committed("g", 1); n != 1 {
		t.Errorf("%d offsets are committed, want 1", n)
	}
}

func TestStopCutsSlowHandlersShort(t *testing.T) {
	l := newLog(t, 1)
	began := make(chan struct{})
	var cause atomic.Value
	o := l.options(consumers.HandleFunc("*", func(ctx context.Context, _ schemas.Event) error {
		close(began)
		<-ctx.Done()
		cause.Store(ctx.Err())
		return ctx.Err()
	}))
	o.DrainTimeout, o.Retry.Attempts = 30*time.Millisecond, 1
	l.put(0, "a", "x")
	g := run(t, o)
	<-began
	if err := g.stop(); err == nil {
		t.Error("Run returned nil, want that an event is unfinished")
	}
	if cause.Load() != context.Canceled {
		t.Errorf("handler's context ended with %v, want canceled", cause.Load())
	}
	if got := l.committed("g", 0); got != 0 {
		t.Errorf("committed offset is %d, want 0", got)
	}
	if end := l.end("g.dead"); end != 0 {
		t.Errorf("dead-letter topic ends at %d: being cut short is no failure of the event", end)
	}
}

// A handler may take longer than the group's session: membership does not
// depend on polling.
func TestSlowHandlerKeepsMembership(t *testing.T) {
	l := newLog(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	var calls atomic.Int32
	o := l.options(consumers.HandleFunc("*", func(context.Context, schemas.Event) error {
		calls.Add(1)
		<-time.After(1200 * time.Millisecond)
		return nil
	}))
	o.Client = append(o.Client, kgo.SessionTimeout(300*time.Millisecond))
	l.put(0, "a", "x")
	g := run(t, o)
	eventually(t, func() error {
		if calls.Load() == 0 {
			return errors.New("not handled")
		}
		return nil
	})
	member := g.Status().Member
	l.wantCommitted("g", 0, 1)
	if got := g.Status().Member; got != member || member == "" {
		t.Errorf("member is %q after a slow handler, want %q", got, member)
	}
	if got := calls.Load(); got != 1 {
		t.Errorf("handled %d times, want once", got)
	}
}

// Partitions move between members: handlers that run are awaited, so nothing
// comes twice, and nothing is missed.
func TestRebalance(t *testing.T) {
	l := newLog(t, 4)
	var s seen
	h := s.handler(func(context.Context, schemas.Event) error {
		<-time.After(5 * time.Millisecond)
		return nil
	})
	var want []string
	put := func(round int) {
		for p := range int32(4) {
			id := fmt.Sprintf("%d-%d", round, p)
			l.put(p, id, "x")
			want = append(want, id)
		}
	}
	put(0)
	a := run(t, l.options(consumers.Route{Handler: h}))
	s.want(t, want...)
	b := run(t, l.options(consumers.Route{Handler: h}))
	for round := 1; ; round++ {
		put(round)
		if len(a.Status().Partitions) == 2 && len(b.Status().Partitions) == 2 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	put(10_000)
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	put(20_000)
	s.want(t, want...)
	for p := range int32(4) {
		l.wantCommitted("g", p, int64(len(want)/4))
	}
}

// A partition that was paused when it was taken away is fetched when it comes
// back.
func TestPausedPartitionComesBack(t *testing.T) {
	l := newLog(t, 2)
	const n = 3 * consumers.QueueRecords
	for p := range int32(2) {
		records := make([]*kgo.Record, n)
		for i := range records {
			ev := event(fmt.Sprint(p, "-", i), "x")
			ev.Body = make([]byte, 1000)
			records[i] = schemas.Encode(ev, topic)
			records[i].Partition = p
		}
		if err := l.client.ProduceSync(l.ctx(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	gate := make(chan struct{})
	o := l.options(consumers.HandleFunc("*", func(ctx context.Context, _ schemas.Event) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	o.DrainTimeout = 10 * time.Millisecond
	a := run(t, o)
	paused := func(g *running, n int) {
		t.Helper()
		eventually(t, func() error {
			ps := g.Status().Partitions
			for _, p := range ps {
				if !p.Paused {
					return fmt.Errorf("not paused: %+v", p)
				}
			}
			if len(ps) != n {
				return fmt.Errorf("%d partitions, want %d", len(ps), n)
			}
			return nil
		})
	}
	paused(a, 2)
	o.Dir = t.TempDir()
	b := run(t, o)
	paused(b, 1)
	paused(a, 1)
	if err := b.stop(); err == nil {
		t.Error("Run returned nil, want that events are unfinished")
	}
	paused(a, 2)
	close(gate)
	l.wantCommitted("g", 0, n)
	l.wantCommitted("g", 1, n)
}

// A handler that outlives its partition no longer moves its offset: that
// belongs to the next owner.
func TestLateSuccessAfterRevocationDoesNotCommit(t *testing.T) {
	l := newLog(t, 1)
	gate, began := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o := l.options(consumers.HandleFunc("*", func(context.Context, schemas.Event) error {
		once.Do(func() { close(began) })
		<-gate // Ignores its context, as handlers should not.
		return nil
	}))
	o.DrainTimeout = 10 * time.Millisecond
	l.put(0, "a", "x")
	g := run(t, o)
	<-began
	stopped := make(chan error)
	go func() { stopped <- g.stop() }()
	// The member leaves although the handler runs on.
	eventually(t, func() error {
		d, err := l.admin.DescribeGroups(l.ctx(), "g")
		if err != nil {
			return err
		}
		if n := len(d["g"].Members); n != 0 {
			return fmt.Errorf("%d members", n)
		}
		return nil
	})
	select {
	case err := <-stopped:
		t.Errorf("Run returned %v while a handler ran", err)
	default:
	}
	close(gate)
	if err := <-stopped; err == nil {
		t.Error("Run returned nil, want that an event is unfinished")
	}
	if got := l.committed("g", 0); got != 0 {
		t.Errorf("committed offset is %d, want 0", got)
	}
}

func TestTransactionMarkersMoveThePosition(t *testing.T) {
	l := newLog(t, 1)
	tx, err := kgo.NewClient(append(l.seeds(), kgo.TransactionalID("tx"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for _, c := range []struct {
		id  string
		end kgo.TransactionEndTry
	}{{"committed", kgo.TryCommit}, {"aborted", kgo.TryAbort}} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(l.ctx(), schemas.Encode(event(c.id, "x"), topic)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(l.ctx(), c.end); err != nil {
			t.Fatal(err)
		}
	}
	var s seen
	run(t, l.options(consumers.Route{Handler: s.handler(nil)}))
	l.wantCommitted("g", 0, 4)
	s.want(t, "committed")
}

func TestRunEndsThoughTheBrokersAreGone(t *testing.T) {
	l := newLog(t, 1)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(nil)})
	o.CommitEvery = time.Hour
	l.put(0, "a", "x")
	g := run(t, o)
	s.want(t, "a")
	l.cluster.Close()
	if err := g.stop(); err == nil {
		t.Error("Run returned nil, though the commit cannot have been made")
	}
}

func TestGroupRunsOnce(t *testing.T) {
	l := newLog(t, 1)
	g := run(t, l.options(consumers.Route{Handler: gated(nil)}))
	_ = g.stop()
	if err := g.Run(t.Context()); err == nil {
		t.Error("the second Run returned nil")
	}
	if st := g.Status(); st.Group != "g" || len(st.Partitions) != 0 {
		t.Errorf("status after the end is %+v", st)
	}
}

func TestStopBeforeTheBrokersAnswer(t *testing.T) {
	o := (&log{t: t, cluster: nil}).unreachable()
	g := run(t, o)
	if err := g.stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func (l *log) unreachable() consumers.Options {
	return consumers.Options{
		Group: "g", Topics: []string{topic}, Client: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")},
		Routes: []consumers.Route{{Handler: gated(nil)}},
	}
}

// A handler that ends its goroutine, as t.FailNow does, is a bug of its own; it
// must not be taken for success, nor hang the group.
func TestGoexitIsNoOutcome(t *testing.T) {
	l := newLog(t, 1)
	began := make(chan struct{}, 1)
	o := l.options(consumers.HandleFunc("*", func(context.Context, schemas.Event) error {
		began <- struct{}{}
		goexit()
		return nil
	}))
	l.put(0, "a", "x")
	g := run(t, o)
	<-began
	if err := g.stop(); err == nil {
		t.Error("Run returned nil, want that an event is unfinished")
	}
	if got := l.committed("g", 0); got != 0 {
		t.Errorf("committed offset is %d, want 0", got)
	}
}

func ExampleHandle() {
	type payment struct {
		Data struct{ Order, Customer string }
	}
	fulfil := func(_ context.Context, _ schemas.Event, p payment) error {
		fmt.Println("ship", p.Data.Order)
		return nil
	}
	notify := func(_ context.Context, _ schemas.Event, p payment) error {
		fmt.Println("ask for another card:", p.Data.Customer)
		return nil
	}
	welcome := func(_ context.Context, ev schemas.Event) error {
		fmt.Println("welcome,", ev.Source)
		return nil
	}
	revoke := func(_ context.Context, ev schemas.Event) error {
		return consumers.Permanent(fmt.Errorf("no such subscription in %s", ev.ID))
	}
	group, err := consumers.New(consumers.Options{
		Group:  "shop",
		Topics: []string{"webhooks"},
		Client: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:9092")},
		Dir:    "./data/groups/shop",
		Routes: []consumers.Route{
			consumers.HandleJSON("payment.succeeded", fulfil),
			consumers.HandleJSON("payment.failed", notify),
			consumers.HandleFunc("customer.created", welcome),
			consumers.HandleFunc("subscription.cancelled", revoke),
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = group // group.Run(ctx) handles events until ctx ends.
	// Output:
}
