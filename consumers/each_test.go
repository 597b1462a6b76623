package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/consumers"
	"hooklog/schemas"
)

func TestEachHandlesAndCommits(t *testing.T) {
	l := newLog(t, 2)
	var s seen
	l.put(0, "a", "payment.succeeded")
	l.put(1, "b", "payment.succeeded")
	g := run(t, l.options(consumers.Route{Handler: s.handler(nil)}))
	s.want(t, "a", "b")
	l.put(0, "c", "payment.succeeded")
	s.want(t, "a", "b", "c")
	l.wantCommitted("g", 0, 2)
	l.wantCommitted("g", 1, 1)
	if err := g.stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

func TestEachFailures(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name     string
		handle   func(ctx context.Context, attempt int) error
		attempts int
		class    string // of the dead letter; empty: none
		text     string
	}{
		{"first attempt", func(context.Context, int) error { return nil }, 1, "", ""},
		{"third attempt", func(_ context.Context, n int) error {
			if n < 3 {
				return boom
			}
			return nil
		}, 3, "", ""},
		{"exhausted", func(context.Context, int) error { return boom }, 3, "error", "boom"},
		{"permanent", func(context.Context, int) error { return fmt.Errorf("card: %w", consumers.Permanent(boom)) }, 1, "permanent", "card: boom"},
		{"permanent and retry after", func(context.Context, int) error {
			return consumers.RetryAfter(consumers.Permanent(boom), time.Hour)
		}, 1, "permanent", "boom"},
		{"panic", func(context.Context, int) error { panic("at the disco") }, 3, "panic", "at the disco"},
		{"panic once", func(_ context.Context, n int) error {
			if n == 1 {
				panic("oh")
			}
			return nil
		}, 2, "", ""},
		{"timeout", func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}, 3, "timeout", "deadline exceeded"},
		{"late success", func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return nil
		}, 1, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 1)
			var attempts atomic.Int32
			o := l.options(consumers.HandleFunc("payment.*", func(ctx context.Context, _ schemas.Event) error {
				return c.handle(ctx, int(attempts.Add(1)))
			}))
			o.Timeout = 20 * time.Millisecond
			reg := prometheus.NewRegistry()
			o.Registerer = reg
			l.put(0, "a", "payment.failed")
			run(t, o)
			l.wantCommitted("g", 0, 1)
			if got := int(attempts.Load()); got != c.attempts {
				t.Errorf("%d attempts, want %d", got, c.attempts)
			}
			if c.class == "" {
				wantMetric(t, reg, `hooklog_consumer_records_total{group="g",outcome="handled",route="payment.*"}`, 1)
				if end := l.end("g.dead"); end != 0 {
					t.Errorf("dead-letter topic ends at %d, want 0", end)
				}
				return
			}
			wantMetric(t, reg, `hooklog_consumer_records_total{group="g",outcome="dead_lettered",route="payment.*"}`, 1)
			wantMetric(t, reg, `hooklog_consumer_events_total{group="g",outcome="dead_lettered"}`, 1)
			r := l.read("g.dead", 1)[0]
			for name, want := range map[string]string{
				"hooklog_route": "payment.*", "hooklog_attempts": fmt.Sprint(c.attempts), "hooklog_error_class": c.class, "hooklog_group": "g",
				"hooklog_origin_topic": topic, "hooklog_origin_partition": "0", "hooklog_origin_offset": "0", "ce_id": "a",
			} {
				if got := header(r, name); got != want {
					t.Errorf("dead letter has %s %q, want %q", name, got, want)
				}
			}
			if got := header(r, "hooklog_error"); !strings.Contains(got, c.text) {
				t.Errorf("dead letter has the error %q, want %q in it", got, c.text)
			}
			if _, err := time.Parse(time.RFC3339Nano, header(r, "hooklog_failed_at")); err != nil {
				t.Error(err)
			}
			if ev, err := schemas.Decode(r); err != nil || string(ev.Body) != `{"id":"a"}` || string(r.Key) != "a" {
				t.Errorf("dead letter is %v %q %q, want the original", err, ev.Body, r.Key)
			}
		})
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	l := newLog(t, 1)
	const after = 150 * time.Millisecond
	var mu sync.Mutex
	var at []time.Time
	run(t, l.options(consumers.Route{Handler: consumers.HandlerFunc(func(context.Context, schemas.Event) error {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		if len(at) == 1 {
			return consumers.RetryAfter(errors.New("slow down"), after)
		}
		return nil
	})}))
	l.put(0, "a", "x")
	l.wantCommitted("g", 0, 1)
	mu.Lock()
	defer mu.Unlock()
	if got := at[1].Sub(at[0]); got < after {
		t.Errorf("tried again after %v, want at least %v", got, after)
	}
}

func TestRoutes(t *testing.T) {
	l := newLog(t, 1)
	reg := prometheus.NewRegistry()
	var all, paid, failing seen
	o := l.options(
		consumers.Route{Name: "all", Source: "de*", Handler: all.handler(nil)},
		consumers.Route{Name: "paid", Type: "payment.?", Handler: paid.handler(nil)},
		consumers.Route{Name: "failing", Type: "payment.2", Handler: failing.handler(func(context.Context, schemas.Event) error {
			return consumers.Permanent(errors.New("no"))
		})},
		consumers.Route{Name: "nobody", Source: "other", Handler: paid.handler(nil)},
	)
	o.Routes[0].Type = "payment.*"
	o.Registerer = reg
	l.put(0, "a", "payment.1")
	l.put(0, "b", "payment.2")
	l.put(0, "c", "refund")
	run(t, o)
	l.wantCommitted("g", 0, 3)
	all.want(t, "a", "b")
	paid.want(t, "a", "b")
	failing.want(t, "b")
	for series, want := range map[string]float64{
		`hooklog_consumer_records_total{group="g",outcome="handled",route="all"}`:           2,
		`hooklog_consumer_records_total{group="g",outcome="handled",route="paid"}`:          2,
		`hooklog_consumer_records_total{group="g",outcome="dead_lettered",route="failing"}`: 1,
		`hooklog_consumer_records_total{group="g",outcome="handled",route="nobody"}`:        0,
		`hooklog_consumer_records_total{group="g",outcome="unrouted",route=""}`:             1,
		// Each once, by its worst route.
		`hooklog_consumer_events_total{group="g",outcome="handled"}`:       1,
		`hooklog_consumer_events_total{group="g",outcome="dead_lettered"}`: 1,
		`hooklog_consumer_events_total{group="g",outcome="unrouted"}`:      1,
	} {
		wantMetric(t, reg, series, want)
	}
}

func TestOffsetsAreCommittedContiguously(t *testing.T) {
	l := newLog(t, 1)
	release := make(chan struct{})
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(func(ctx context.Context, ev schemas.Event) error {
		if ev.ID == "2" {
			<-release
		}
		return nil
	})})
	for i := range 10 {
		l.put(0, fmt.Sprint(i), "x")
	}
	g := run(t, o)
	s.want(t, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
	l.wantCommitted("g", 0, 2)
	eventually(t, func() error {
		if p := g.Status().Partitions; len(p) != 1 || p[0].Position != 2 || p[0].InFlight != 1 {
			return fmt.Errorf("status is %+v, want position 2 and one in flight", p)
		}
		return nil
	})
	close(release)
	l.wantCommitted("g", 0, 10)
}

// A route that is retried for hours stops neither its own partition's other
// events, nor other partitions.
func TestRetriesStopNobody(t *testing.T) {
	l := newLog(t, 2)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(func(_ context.Context, ev schemas.Event) error {
		if ev.Type == "bad" {
			return consumers.RetryAfter(errors.New("no"), time.Hour)
		}
		return nil
	})})
	o.MaxInFlight = 2
	want := []string{"bad0", "good"}
	l.put(0, "bad0", "bad")
	l.put(0, "good", "good")
	for i := range 10 {
		id := fmt.Sprintf("other%d", i)
		l.put(1, id, "good")
		want = append(want, id)
	}
	run(t, o)
	s.want(t, want...)
	l.wantCommitted("g", 1, 10)
	if got := l.committed("g", 0); got != 0 {
		t.Errorf("committed offset of partition 0 is %d, want 0: its first event has no outcome", got)
	}
}

func TestHangingHandlersLeaveSlotsToOtherPartitions(t *testing.T) {
	l := newLog(t, 2)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(func(ctx context.Context, ev schemas.Event) error {
		if ev.Type == "hangs" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})})
	o.MaxInFlight, o.Timeout, o.DrainTimeout = 4, time.Hour, time.Millisecond
	for i := range 10 {
		l.put(0, fmt.Sprint(i), "hangs")
	}
	g := run(t, o)
	eventually(t, func() error {
		if n := len(s.all()); n < 3 {
			return fmt.Errorf("%d handlers hang, want 3", n)
		}
		return nil
	})
	l.put(1, "other", "x")
	eventually(t, func() error {
		if got := s.all(); !slices.Contains(got, "other") {
			return fmt.Errorf("saw %q, want the other partition's event", got)
		}
		return nil
	})
	l.wantCommitted("g", 1, 1)
	if err := g.stop(); err == nil {
		t.Error("Run returned nil, want an error that names the unfinished events")
	}
}

func TestMaxInFlight(t *testing.T) {
	l := newLog(t, 3)
	var now, most atomic.Int32
	var s seen
	o := l.options(consumers.Route{Handler: consumers.HandlerFunc(func(_ context.Context, ev schemas.Event) error {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-time.After(2 * time.Millisecond)
		s.add(ev)
		return nil
	})})
	o.MaxInFlight = 5
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprint(i))
		l.put(int32(i%3), fmt.Sprint(i), "x")
	}
	run(t, o)
	s.want(t, want...)
	if got := most.Load(); got != 5 {
		t.Errorf("%d handlers ran at once, want 5", got)
	}
}

// Memory stays bounded and everything is handled, though handlers are slower
// than the log.
func TestQueueIsBounded(t *testing.T) {
	l := newLog(t, 1)
	const n = 3 * consumers.QueueRecords
	records := make([]*kgo.Record, n)
	for i := range records {
		ev := event(fmt.Sprint(i), "x")
		ev.Body = []byte(strings.Repeat("x", 2000))
		records[i] = schemas.Encode(ev, topic)
	}
	if err := l.client.ProduceSync(l.ctx(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	var handled atomic.Int32
	o := l.options(consumers.Route{Handler: consumers.HandlerFunc(func(context.Context, schemas.Event) error {
		<-gate
		handled.Add(1)
		return nil
	})})
	g := run(t, o)
	queued := func() (n int, paused bool) {
		for _, p := range g.Status().Partitions {
			n, paused = p.Queued, p.Paused
		}
		return n, paused
	}
	eventually(t, func() error {
		if n, paused := queued(); !paused {
			return fmt.Errorf("not paused with %d queued", n)
		}
		return nil
	})
	for range 50 {
		if got, _ := queued(); got >= 2*consumers.QueueRecords {
			t.Fatalf("%d records are queued", got)
		}
		<-time.After(time.Millisecond)
	}
	close(gate)
	l.wantCommitted("g", 0, n)
	if got := handled.Load(); got != n {
		t.Errorf("%d handled, want %d", got, n)
	}
}

// While one event has no outcome, at most MaxAhead later ones are handled.
func TestAheadIsBounded(t *testing.T) {
	l := newLog(t, 1)
	const n = consumers.MaxAhead + 500
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = schemas.Encode(event(fmt.Sprint(i), "x"), topic)
	}
	if err := l.client.ProduceSync(l.ctx(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	var handled atomic.Int32
	run(t, l.options(consumers.Route{Handler: consumers.HandlerFunc(func(_ context.Context, ev schemas.Event) error {
		if ev.ID == "0" {
			<-gate
		}
		handled.Add(1)
		return nil
	})}))
	eventually(t, func() error {
		if got := handled.Load(); got != consumers.MaxAhead-1 {
			return fmt.Errorf("%d handled, want %d", got, consumers.MaxAhead-1)
		}
		return nil
	})
	close(gate)
	l.wantCommitted("g", 0, n)
}
