package consumers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	commitTimeout  = 10 * time.Second // one commit, with kgo's retries
	leaveTimeout   = 5 * time.Second  // else the broker notices by itself
	adminTimeout   = 10 * time.Second
	observeEvery   = 2 * time.Second // lag; one small request per broker
	rebalanceSlack = 30 * time.Second
	// Between a context that ends and the handler that notices.
	cancelGrace = time.Second

	fetchBytes          = 16 << 20 // of one broker
	fetchPartitionBytes = 1 << 20
	// A partition that is new or resumed waits for the fetch that is under
	// way, so kgo's 5 s would show after each rebalance; this is Kafka's.
	fetchWait      = 500 * time.Millisecond
	metadataMaxAge = time.Minute // new partitions are noticed within it
)

// mode is how records reach handlers or sinks. Its methods are called by the
// session: take and tick between two polls, the others from rebalances, never
// beside take.
type mode interface {
	// assigned adds partitions at their committed offsets and returns where
	// they start.
	assigned(ctx context.Context, start map[TopicPartition]mark) (map[TopicPartition]mark, error)
	// take takes polled records of an assigned partition, in offset order.
	take(ctx context.Context, tp TopicPartition, records []*kgo.Record) error
	// tick does what is due, and returns when it wants to be called again at
	// the latest; zero means with the next records.
	tick(ctx context.Context) (time.Time, error)
	// hold stops fetching a partition for good; what was taken goes on.
	hold(tp TopicPartition)
	// revoked ends partitions that are still this member's: finish within
	// ctx, commit, forget. Unknown ones are ignored.
	revoked(ctx context.Context, tps []TopicPartition) error
	// lost forgets partitions that may be another member's already.
	lost(tps []TopicPartition)
	// background runs until ctx ends.
	background(ctx context.Context)
	status() []PartitionStatus
}

// session is one membership of the group, from joining to leaving.
type session struct {
	opts    *Options
	metrics *metrics
	marker  *marker // touched by assign only, which runs once at a time
	client  *kgo.Client
	admin   *kadm.Client
	mode    mode
	dead    *deadLetters
	log     *slog.Logger
	repeats *throttle
	// life has the values of Run's context and does not end: what is in
	// flight when Run is told to stop is finished first.
	life context.Context
	// polling is Run's context; abort ends it with an error, from any
	// goroutine.
	polling context.Context
	abort   context.CancelCauseFunc
	// ready is closed when the fields above are set: the client's callbacks
	// may come before NewClient has returned.
	ready chan struct{}

	// handlers counts the goroutines that run handlers.
	handlers sync.WaitGroup

	mu      sync.Mutex
	stopped map[TopicPartition]error
	ends    map[TopicPartition]int64
}

// errAgain ends a session to begin another at once.
var errAgain = errors.New("the session begins anew")

func newSession(ctx context.Context, o *Options, met *metrics, m *marker, maxBytes *atomic.Int32, r *router) (*session, error) {
	s := &session{
		opts: o, metrics: met, marker: m, log: o.Logger.With("group", o.Group), repeats: newThrottle(time.Minute), life: context.WithoutCancel(ctx),
		ready: make(chan struct{}), stopped: make(map[TopicPartition]error), ends: make(map[TopicPartition]int64),
	}
	s.polling, s.abort = context.WithCancelCause(ctx)
	reset := kgo.NoResetOffset()
	if o.OnLostOffset == LostOffsetEarliest {
		reset = kgo.NewOffset().AtStart()
	}
	opts := append([]kgo.Opt{kgo.MetadataMaxAge(metadataMaxAge)}, o.Client...)
	opts = append(
		opts,
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeTopics(o.Topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.RebalanceTimeout(o.DrainTimeout+rebalanceSlack),
		// Between a poll and AllowRebalance no partition is taken away, so
		// what was polled is always handed over before its revocation.
		kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(),
		kgo.AdjustFetchOffsetsFn(s.assign),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { s.revoke(tps) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { s.lose(tps) }),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtCommitted()),
		kgo.ConsumeResetOffset(reset),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// Markers move the position, or the lag would never reach zero.
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytesFn(func(string) int32 { return maxBytes.Load() }),
	)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fatal(fmt.Errorf("make client of group %q: %w", o.Group, err))
	}
	s.client, s.admin = client, kadm.NewClient(client)
	s.dead = &deadLetters{opts: o, client: client, maxBytes: maxBytes, now: time.Now}
	if o.Routes[0].Sink != nil {
		s.mode = newBatch(s, r)
	} else {
		s.mode = newEach(s, r)
	}
	close(s.ready)
	return s, nil
}

// run polls until ctx ends or the session fails, then finishes what is in
// flight, commits, leaves the group and closes the client.
func (s *session) run(ctx context.Context) error {
	defer s.abort(nil)
	// What has begun when ctx ends may still take DrainTimeout.
	work, cancel := context.WithCancel(s.life)
	var background sync.WaitGroup
	background.Go(func() { s.mode.background(work) })
	background.Go(func() { s.observe(work) })
	background.Go(func() {
		select {
		case <-ctx.Done():
			pause(s.opts.DrainTimeout, work.Done())
			cancel()
		case <-work.Done():
		}
	})

	err := s.poll(ctx, work)
	s.client.AllowRebalance()
	tps := s.assigned()
	if err == nil || errors.Is(err, errAgain) {
		err = errors.Join(err, s.mode.revoked(work, tps))
	} else {
		s.mode.lost(tps)
	}
	cancel()
	background.Wait()
	s.forget(tps)
	leave, done := context.WithTimeout(s.life, leaveTimeout)
	defer done()
	if e := s.client.LeaveGroupContext(leave); e != nil {
		s.log.WarnContext(ctx, "did not leave the group cleanly", "err", e)
	}
	s.client.Close()
	s.handlers.Wait()
	return err
}

// poll hands records over until ctx ends, or until one of abort, tick, take
// and failed ends the session with an error.
func (s *session) poll(ctx, work context.Context) error {
	for {
		next, err := s.mode.tick(work)
		s.client.AllowRebalance()
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil: // Whatever its cause is: a signal has one, too.
			return nil
		case s.polling.Err() != nil:
			return context.Cause(s.polling)
		}
		fetches := s.fetch(next)
		failed := make(map[TopicPartition]error)
		for _, e := range fetches.Errors() {
			failed[TopicPartition{e.Topic, e.Partition}] = e.Err
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			tp := TopicPartition{f.Topic, f.Partition}
			if err == nil && len(f.Records) > 0 && !s.stops(failed[tp]) && !s.isStopped(tp) {
				err = s.mode.take(work, tp, f.Records)
			}
		})
		if err != nil {
			return err
		}
		// The rest asks the broker; a rebalance need not wait for that.
		s.client.AllowRebalance()
		for tp, e := range failed {
			if err := s.failed(ctx, tp, e); err != nil {
				return err
			}
		}
	}
}

// fetch waits for records, until polling ends or it is time for what comes next.
func (s *session) fetch(next time.Time) kgo.Fetches {
	ctx := s.polling
	if !next.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, next)
		defer cancel()
	}
	return s.client.PollFetches(ctx)
}

// stops reports whether an error of fetching means that the position is lost.
func (s *session) stops(err error) bool {
	_, loss := errors.AsType[*kgo.ErrDataLoss](err)
	return s.opts.OnLostOffset == LostOffsetStop && (loss || errors.Is(err, kerr.OffsetOutOfRange))
}

// failed deals with an error of fetching.
func (s *session) failed(ctx context.Context, tp TopicPartition, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case s.stops(err):
		if s.isStopped(tp) {
			return nil
		}
		s.mode.hold(tp)
		s.stop(ctx, tp, s.explain(ctx, tp, err))
	case errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("topic %q was deleted or made anew: %w", tp.Topic, errAgain)
	default:
		// The client goes on by itself; the cause may be an operator's to mend.
		if dropped, ok := s.repeats.allow(tp.Topic + err.Error()); ok {
			s.log.WarnContext(ctx, "fetching failed", "topic", tp.Topic, "partition", tp.Partition, "err", err, "repeats", dropped)
		}
	}
	return nil
}

// explain finds out what of the log is gone.
func (s *session) explain(ctx context.Context, tp TopicPartition, err error) error {
	if loss, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
		return fmt.Errorf("group %q had got to offset %d of %s/%d, and the log was truncated at %d and written anew (%s)", s.opts.Group, loss.ConsumedTo, tp.Topic, tp.Partition, loss.ResetTo, gapHint)
	}
	at := int64(-1)
	for _, p := range s.mode.status() {
		if p.TopicPartition == tp {
			at = p.fetched
		}
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	begin, err1 := s.admin.ListStartOffsets(ctx, tp.Topic)
	end, err2 := s.admin.ListEndOffsets(ctx, tp.Topic)
	b, ok1 := begin.Lookup(tp.Topic, tp.Partition)
	e, ok2 := end.Lookup(tp.Topic, tp.Partition)
	if err1 != nil || err2 != nil || !ok1 || !ok2 || at < 0 {
		return fmt.Errorf("group %q lost its position in %s/%d: %w", s.opts.Group, tp.Topic, tp.Partition, err)
	}
	return &gap{group: s.opts.Group, tp: tp, committed: at, start: b.Offset, end: e.Offset}
}

// stop notes that a partition stands still until someone decides.
func (s *session) stop(ctx context.Context, tp TopicPartition, err error) {
	s.mu.Lock()
	s.stopped[tp] = err
	s.mu.Unlock()
	s.metrics.setStopped(s.opts.Group, tp)
	s.countGone(tp, err)
	s.log.ErrorContext(ctx, "partition stopped", "topic", tp.Topic, "partition", tp.Partition, "err", err)
}

func (s *session) countGone(tp TopicPartition, err error) {
	var g *gap
	if errors.As(err, &g) {
		s.metrics.addLost(s.opts.Group, tp, g.gone())
	}
}

func (s *session) isStopped(tp TopicPartition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped[tp] != nil
}

// assigned returns the partitions that the mode has.
func (s *session) assigned() []TopicPartition {
	var tps []TopicPartition
	for _, p := range s.mode.status() {
		tps = append(tps, p.TopicPartition)
	}
	return tps
}

// forget drops what is known of partitions that are no longer assigned.
func (s *session) forget(tps []TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tp := range tps {
		delete(s.stopped, tp)
		delete(s.ends, tp)
		s.metrics.forget(s.opts.Group, tp)
	}
}

func flatten(m map[string][]int32) []TopicPartition {
	var tps []TopicPartition
	for t, ps := range m {
		for _, p := range ps {
			tps = append(tps, TopicPartition{t, p})
		}
	}
	slices.SortFunc(tps, comparePartitions)
	return tps
}
