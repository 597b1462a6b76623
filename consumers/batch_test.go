package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/consumers"
	"hooklog/schemas"
)

type ctx = context.Context

// memorySink keeps events as a durable sink would: what is flushed stays, what
// is not is gone with its partition. Events are named partition:ID.
type memorySink struct {
	mu       sync.Mutex
	assigned consumers.Offsets
	open     map[consumers.TopicPartition][]string
	durable  []string
	calls    []string // as a transcript
	busy     bool

	// fail, if set, is asked before each call.
	fail func(call string) error
}

func (s *memorySink) enter(call string) func() {
	s.mu.Lock()
	if s.busy {
		panic("BUG: methods of a sink are called at once")
	}
	s.busy = true
	s.calls = append(s.calls, call)
	return func() { s.busy = false; s.mu.Unlock() }
}

func (s *memorySink) do(call string) error {
	if s.fail == nil {
		return nil
	}
	err := s.fail(call)
	if err != nil {
		s.assigned, s.open = nil, nil
	}
	return err
}

func (s *memorySink) Assigned(_ ctx, start consumers.Offsets) (consumers.Offsets, error) {
	defer s.enter(fmt.Sprintf("assigned %d", len(start)))()
	if err := s.do("assigned"); err != nil {
		return nil, err
	}
	open := make(map[consumers.TopicPartition][]string)
	for tp := range start {
		open[tp] = s.open[tp]
	}
	s.assigned, s.open = maps.Clone(start), open
	return start, nil
}

func (s *memorySink) Write(_ ctx, events []schemas.Event) error {
	defer s.enter(fmt.Sprintf("write %d", len(events)))()
	if err := s.do("write"); err != nil {
		return err
	}
	for _, ev := range events {
		tp := consumers.TopicPartition{Topic: ev.Position.Topic, Partition: ev.Position.Partition}
		if _, ok := s.assigned[tp]; !ok {
			return fmt.Errorf("event %s is not of an assigned partition", ev.Position)
		}
		s.open[tp] = append(s.open[tp], fmt.Sprintf("%d:%s", tp.Partition, ev.ID))
	}
	return nil
}

func (s *memorySink) Flush(_ ctx, upTo consumers.Offsets) error {
	defer s.enter("flush")()
	if err := s.do("flush"); err != nil {
		return err
	}
	for tp := range upTo {
		s.durable = append(s.durable, s.open[tp]...)
		s.open[tp] = nil
	}
	return nil
}

func (s *memorySink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.durable)
}

func (s *memorySink) want(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func() error {
		if got := s.all(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			return fmt.Errorf("durable are %q, want %q", got, want)
		}
		return nil
	})
}

func (s *memorySink) transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, ", ")
}

func TestBatchFlushesThenCommits(t *testing.T) {
	l := newLog(t, 2)
	reg := prometheus.NewRegistry()
	sink := &memorySink{}
	sink.fail = func(call string) error {
		// Nothing may be committed that is not durable yet.
		if got := l.committed("g", 0); got > int64(len(slices.DeleteFunc(slices.Clone(sink.durable), func(s string) bool { return s[0] != '0' }))) {
			t.Errorf("before %s offset %d is committed, durable are %q", call, got, sink.durable)
		}
		return nil
	}
	o := l.options(consumers.Route{Name: "lake", Type: "payment.*", Sink: sink})
	o.Registerer = reg
	l.put(0, "a", "payment.1")
	l.put(0, "b", "payment.2")
	l.put(1, "c", "refund")
	g := run(t, o)
	l.wantCommitted("g", 0, 2)
	l.wantCommitted("g", 1, 1) // Unrouted events are committed too.
	l.put(0, "d", "payment.3")
	l.wantCommitted("g", 0, 3)
	if got := sink.all(); !slices.Equal(got, []string{"0:a", "0:b", "0:d"}) {
		t.Errorf("durable are %q, want a, b, d in order", got)
	}
	wantMetric(t, reg, `hooklog_consumer_records_total{group="g",outcome="handled",route="lake"}`, 3)
	wantMetric(t, reg, `hooklog_consumer_events_total{group="g",outcome="handled"}`, 3)
	wantMetric(t, reg, `hooklog_consumer_events_total{group="g",outcome="unrouted"}`, 1)
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	if got := sink.transcript(); !strings.HasSuffix(got, "assigned 0") {
		t.Errorf("transcript is %s; want the partitions taken back at the end", got)
	}
}

func TestBatchFlushesWhenItStops(t *testing.T) {
	l := newLog(t, 1)
	sink := &memorySink{}
	o := l.options(consumers.Route{Sink: sink})
	o.CommitEvery = time.Hour
	l.put(0, "a", "x")
	g := run(t, o)
	eventually(t, func() error {
		if got := sink.transcript(); !strings.Contains(got, "write 1") {
			return errors.New(got)
		}
		return nil
	})
	if got := sink.all(); len(got) != 0 {
		t.Errorf("durable are %q before the end", got)
	}
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	sink.want(t, "0:a")
	l.wantCommitted("g", 0, 1)
}

// A pacer is flushed when it says so, and not before.
func TestBatchFollowsThePacer(t *testing.T) {
	l := newLog(t, 2)
	sink := &pacedSink{}
	o := l.options(consumers.Route{Sink: sink})
	l.put(0, "a", "x")
	l.put(1, "b", "x")
	run(t, o)
	sink.wantWritten(t, 2)
	for range 3 * int(o.CommitEvery/time.Millisecond) {
		if got := sink.all(); len(got) != 0 {
			t.Fatalf("durable are %q, though the sink does not want to be flushed", got)
		}
		<-time.After(time.Millisecond)
	}
	sink.setDue(1)
	l.put(1, "c", "x") // Wakes the poll.
	eventually(t, func() error {
		if got := sink.all(); !slices.Contains(got, "1:b") {
			return fmt.Errorf("durable are %q, want b", got)
		}
		return nil
	})
	if got := l.committed("g", 0); got != 0 {
		t.Errorf("committed offset of partition 0 is %d, want 0", got)
	}
}

// What no sink waits for is committed all the same.
func TestBatchCommitsWhatIsUnrouted(t *testing.T) {
	l := newLog(t, 1)
	sink := &pacedSink{}
	l.put(0, "a", "x")
	run(t, l.options(consumers.Route{Type: "y", Sink: sink}))
	l.wantCommitted("g", 0, 1)
}

// A flush that fails while a partition is taken away ends the session, though
// no record comes to wake it; nothing is lost, and nothing comes twice.
func TestBatchFailsWhileItIsRevoked(t *testing.T) {
	l := newLog(t, 2)
	a, b := &memorySink{}, &memorySink{}
	failed := false
	a.fail = func(call string) error {
		if call == "flush" && !failed {
			failed = true
			return errors.New("disk full")
		}
		return nil
	}
	reg := prometheus.NewRegistry()
	o := l.options(consumers.Route{Sink: a})
	o.CommitEvery, o.Registerer = time.Hour, reg
	l.put(0, "a", "x")
	l.put(1, "b", "x")
	ga := run(t, o)
	a.wantWritten(t, 2)
	o.Routes = []consumers.Route{{Sink: b}}
	o.Dir, o.Registerer = t.TempDir(), nil
	gb := run(t, o)
	wantMetric(t, reg, `hooklog_consumer_sessions_total{group="g"}`, 2)
	eventually(t, func() error {
		if a, b := len(ga.Status().Partitions), len(gb.Status().Partitions); a != 1 || b != 1 {
			return fmt.Errorf("the members have %d and %d partitions, want one each", a, b)
		}
		return nil
	})
	// The second member had both, and flushed the one that it gave back.
	b.wantWritten(t, 1)
	if err := errors.Join(gb.stop(), ga.stop()); err != nil {
		t.Error(err)
	}
	got := slices.Sorted(slices.Values(append(a.all(), b.all()...)))
	if want := []string{"0:a", "1:b"}; !slices.Equal(got, want) {
		t.Errorf("durable are %q, want %q", got, want)
	}
}

type pacedSink struct {
	memorySink
	dueMu sync.Mutex
	due   map[int32]bool
}

func (s *pacedSink) setDue(p int32) {
	s.dueMu.Lock()
	defer s.dueMu.Unlock()
	s.due = map[int32]bool{p: true}
}

func (s *pacedSink) FlushBy(tp consumers.TopicPartition) time.Time {
	s.mu.Lock()
	waits := len(s.open[tp]) > 0
	s.mu.Unlock()
	s.dueMu.Lock()
	defer s.dueMu.Unlock()
	switch {
	case !waits:
		return time.Time{}
	case s.due[tp.Partition]:
		return time.Now().Add(-time.Second)
	}
	return time.Now().Add(time.Hour)
}

func (s *memorySink) wantWritten(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		got := 0
		for _, o := range s.open {
			got += len(o)
		}
		if got != n {
			return fmt.Errorf("%d events are written, want %d", got, n)
		}
		return nil
	})
}

// Whatever fails, and wherever: the group comes back at what is committed.
func TestBatchComesBackAfterErrors(t *testing.T) {
	for _, call := range []string{"assigned", "write", "flush"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 1)
			sink := &memorySink{}
			failed := false
			sink.fail = func(c string) error {
				if c == call && !failed {
					failed = true
					return errors.New("disk full")
				}
				return nil
			}
			reg := prometheus.NewRegistry()
			o := l.options(consumers.Route{Sink: sink})
			o.Registerer = reg
			l.put(0, "a", "x")
			l.put(0, "b", "x")
			g := run(t, o)
			sink.want(t, "0:a", "0:b")
			l.wantCommitted("g", 0, 2)
			wantMetric(t, reg, `hooklog_consumer_sessions_total{group="g"}`, 2)
			wantMetric(t, reg, `hooklog_consumer_records_total{group="g",outcome="handled",route=""}`, 2)
			if err := g.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A commit that is refused, or whose answer is lost, ends the session; the sink
// sees what the broker really has.
func TestBatchComesBackAfterAFailedCommit(t *testing.T) {
	l := newLog(t, 1)
	sink := &memorySink{}
	var fails int
	l.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		r := req.(*kmsg.OffsetCommitRequest)
		if r.Generation < 0 || fails > 0 {
			return nil, nil, false
		}
		fails++
		resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, rt := range r.Topics {
			st := kmsg.NewOffsetCommitResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewOffsetCommitResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.UnknownMemberID.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	l.put(0, "a", "x")
	run(t, l.options(consumers.Route{Sink: sink}))
	l.wantCommitted("g", 0, 1)
	if got := sink.all(); !slices.Equal(got, []string{"0:a", "0:a"}) {
		t.Errorf("flushed %q, want a once before the failed commit and once after it", got)
	}
}

func TestBatchDeadLettersWhatIsNoEvent(t *testing.T) {
	l := newLog(t, 1)
	sink := &memorySink{}
	reg := prometheus.NewRegistry()
	o := l.options(consumers.Route{Sink: sink})
	o.Registerer = reg
	l.put(0, "a", "x")
	l.putRecord(&kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("junk")})
	l.put(0, "b", "x")
	run(t, o)
	l.wantCommitted("g", 0, 3)
	sink.want(t, "0:a", "0:b")
	if r := l.read("g.dead", 1)[0]; string(r.Value) != "junk" || header(r, "hooklog_error_class") != "not_event" {
		t.Errorf("dead letter is %q of class %q", r.Value, header(r, "hooklog_error_class"))
	}
	wantMetric(t, reg, `hooklog_consumer_records_total{group="g",outcome="dead_lettered",route=""}`, 1)
}

func TestBatchWritesOncePerSink(t *testing.T) {
	l := newLog(t, 1)
	one, two := &memorySink{}, &memorySink{}
	l.put(0, "a", "x")
	l.put(0, "b", "y")
	run(t, l.options(
		consumers.Route{Name: "1", Sink: one},
		consumers.Route{Name: "2", Type: "x", Sink: one},
		consumers.Route{Name: "3", Type: "y", Sink: two},
	))
	l.wantCommitted("g", 0, 2)
	one.want(t, "0:a", "0:b")
	two.want(t, "0:b")
}

// Two members share the partitions; whatever moves, each event becomes durable
// once.
func TestBatchRebalance(t *testing.T) {
	l := newLog(t, 4)
	var want []string
	put := func(round int) {
		for p := range int32(4) {
			id := fmt.Sprintf("%d-%d", round, p)
			l.put(p, id, "x")
			want = append(want, fmt.Sprintf("%d:%s", p, id))
		}
	}
	a, b := &memorySink{}, &memorySink{}
	put(0)
	ga := run(t, l.options(consumers.Route{Sink: a}))
	eventually(t, func() error {
		if n := len(ga.Status().Partitions); n != 4 {
			return fmt.Errorf("the first member has %d partitions, want 4", n)
		}
		return nil
	})
	gb := run(t, l.options(consumers.Route{Sink: b}))
	for round := 1; ; round++ {
		put(round)
		if len(ga.Status().Partitions) == 2 && len(gb.Status().Partitions) == 2 {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	put(10_000)
	if err := ga.stop(); err != nil {
		t.Error(err)
	}
	put(20_000)
	eventually(t, func() error {
		got := slices.Sorted(slices.Values(append(a.all(), b.all()...)))
		if w := slices.Sorted(slices.Values(want)); !slices.Equal(got, w) {
			return fmt.Errorf("durable are %q, want %q", got, w)
		}
		return nil
	})
}
