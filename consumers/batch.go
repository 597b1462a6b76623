package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/schemas"
)

// batch is the delivery mode of sinks: events in offset order per partition,
// flush, then commit. A partition is flushed in all sinks at once, when any of
// them wants it. After any error nothing more is written, flushed or
// committed: the session ends, and the next one begins at the offsets the
// broker has.
type batch struct {
	s      *session
	router *router
	sinks  []Sink

	// mu is held while a sink works: rebalances come from another goroutine.
	mu    sync.Mutex
	parts map[TopicPartition]*batchPart
	// broken is the error that ends the session.
	broken error
}

// batchPart is what mode batch knows of one assigned partition.
type batchPart struct {
	position  mark // everything before it was given to the sinks
	committed int64
	since     time.Time // of the first record that is not committed
	// unflushed counts what becomes Handled with the next commit: by route,
	// and as events.
	unflushed map[string]int
	events    int
	held      bool
}

func newBatch(s *session, r *router) *batch {
	b := &batch{s: s, router: r, parts: make(map[TopicPartition]*batchPart)}
	for _, t := range r.routes {
		if !slices.Contains(b.sinks, t.sink) {
			b.sinks = append(b.sinks, t.sink)
		}
	}
	return b
}

func (b *batch) assigned(ctx context.Context, start map[TopicPartition]mark) (map[TopicPartition]mark, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return nil, b.broken
	}
	for tp, m := range start {
		b.parts[tp] = &batchPart{position: m, committed: m.offset, unflushed: make(map[string]int)}
	}
	answer, err := b.tell(ctx)
	if err != nil {
		return nil, b.fail(err)
	}
	for tp := range start {
		if at, ok := answer[tp]; ok && at != start[tp].offset {
			start[tp] = mark{at, -1}
			b.parts[tp].position = start[tp]
		}
	}
	return start, nil
}

// tell tells the sinks which partitions they have, and returns the lowest
// answer for each. b.mu is held.
func (b *batch) tell(ctx context.Context) (Offsets, error) {
	answer := make(Offsets, len(b.parts))
	for i, sink := range b.sinks {
		whole := make(Offsets, len(b.parts))
		for tp, p := range b.parts {
			whole[tp] = p.position.offset
		}
		at, err := sink.Assigned(ctx, whole)
		if err != nil {
			return nil, fmt.Errorf("sink takes over %d partitions: %w", len(b.parts), err)
		}
		for tp, o := range at {
			if i == 0 {
				answer[tp] = o
			}
			answer[tp] = min(answer[tp], o)
		}
	}
	return answer, nil
}

// take gives records to the sinks of the routes that match. A record that is
// no event becomes a dead letter, and no later record is committed before that
// is acknowledged.
func (b *batch) take(ctx context.Context, tp TopicPartition, records []*kgo.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.parts[tp]
	if p == nil || b.broken != nil {
		return b.broken
	}
	if p.position.offset == p.committed {
		p.since = time.Now()
	}
	batches := make([][]schemas.Event, len(b.sinks))
	var stack [4]*route
	for _, r := range records {
		p.position = mark{r.Offset + 1, r.LeaderEpoch}
		if r.Attrs.IsControl() {
			continue
		}
		ev, err := schemas.Decode(r)
		if err != nil {
			if err := b.deadLetter(ctx, r, failure{class: ClassNotEvent, err: err}); err != nil {
				return b.fail(err)
			}
			continue
		}
		routes := b.router.match(stack[:0], ev.Source, ev.Type)
		if len(routes) == 0 {
			b.s.metrics.settled(b.s.opts.Group, "", Unrouted, 1)
			b.s.metrics.ended(b.s.opts.Group, Unrouted, 1)
			continue
		}
		p.events++
		for i, t := range routes {
			p.unflushed[t.name]++
			if !slices.ContainsFunc(routes[:i], func(o *route) bool { return o.sink == t.sink }) {
				n := slices.Index(b.sinks, t.sink)
				batches[n] = append(batches[n], ev)
			}
		}
	}
	for i, events := range batches {
		if len(events) == 0 {
			continue
		}
		if err := b.sinks[i].Write(ctx, events); err != nil {
			return b.fail(fmt.Errorf("sink writes %d events of %s/%d: %w", len(events), tp.Topic, tp.Partition, err))
		}
	}
	return nil
}

func (b *batch) deadLetter(ctx context.Context, r *kgo.Record, f failure) error {
	ctx, cancel := context.WithTimeout(ctx, b.s.opts.Timeout)
	defer cancel()
	if err := b.s.dead.write(ctx, r, f); err != nil {
		return err
	}
	b.s.metrics.settled(b.s.opts.Group, f.route, DeadLettered, 1)
	b.s.metrics.ended(b.s.opts.Group, DeadLettered, 1)
	b.s.log.Warn("event dead-lettered", "route", f.route, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "class", f.class, "err", f.err)
	return nil
}

// tick flushes the partitions that are due.
func (b *batch) tick(ctx context.Context) (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return time.Time{}, b.broken
	}
	var due []TopicPartition
	var next time.Time
	now := time.Now()
	for tp, p := range b.parts {
		switch by := b.flushBy(tp, p); {
		case by.IsZero():
		case !by.After(now):
			due = append(due, tp)
		case next.IsZero() || by.Before(next):
			next = by
		}
	}
	return next, b.flush(ctx, due)
}

// flushBy returns when a partition is to be flushed and committed; zero if
// there is nothing to commit.
func (b *batch) flushBy(tp TopicPartition, p *batchPart) time.Time {
	if p.position.offset == p.committed {
		return time.Time{}
	}
	var by time.Time
	for _, sink := range b.sinks {
		pacer, ok := sink.(Pacer)
		if !ok {
			return p.since.Add(b.s.opts.CommitEvery)
		}
		if t := pacer.FlushBy(tp); !t.IsZero() && (by.IsZero() || t.Before(by)) {
			by = t
		}
	}
	if by.IsZero() { // Nothing waits: all of it was unrouted.
		by = p.since.Add(b.s.opts.CommitEvery)
	}
	return by
}

// flush makes partitions durable in all sinks, then commits them. b.mu is held.
func (b *batch) flush(ctx context.Context, tps []TopicPartition) error {
	if len(tps) == 0 {
		return nil
	}
	begin := time.Now()
	upTo := make(Offsets, len(tps))
	marks := make(map[TopicPartition]mark, len(tps))
	for _, tp := range tps {
		upTo[tp] = b.parts[tp].position.offset
		marks[tp] = b.parts[tp].position
	}
	for _, sink := range b.sinks {
		if err := sink.Flush(ctx, upTo); err != nil {
			return b.fail(fmt.Errorf("sink flushes %d partitions: %w", len(upTo), err))
		}
	}
	// An answer that does not come leaves it open whether the commit was
	// made, so a failure ends the session like any other: in the next one the
	// broker refuses a commit of this one, and says what it has.
	if err := b.s.commit(ctx, marks); err != nil {
		return b.fail(err)
	}
	for _, tp := range tps {
		p := b.parts[tp]
		p.committed = p.position.offset
		for name, n := range p.unflushed {
			b.s.metrics.settled(b.s.opts.Group, name, Handled, n)
		}
		b.s.metrics.ended(b.s.opts.Group, Handled, p.events)
		clear(p.unflushed)
		p.events = 0
	}
	b.s.metrics.flush.WithLabelValues(b.s.opts.Group).Observe(time.Since(begin).Seconds())
	return nil
}

func (b *batch) hold(tp TopicPartition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.parts[tp]; p != nil {
		p.held = true
		b.s.client.PauseFetchPartitions(map[string][]int32{tp.Topic: {tp.Partition}})
	}
}

func (b *batch) revoked(ctx context.Context, tps []TopicPartition) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var mine []TopicPartition
	err := b.broken
	for _, tp := range tps {
		if p := b.parts[tp]; p != nil && b.broken == nil && p.position.offset != p.committed {
			mine = append(mine, tp)
		}
	}
	if err == nil {
		err = b.flush(ctx, mine)
	}
	return errors.Join(err, b.drop(ctx, tps))
}

func (b *batch) lost(tps []TopicPartition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(b.s.life, b.s.opts.DrainTimeout)
	defer cancel()
	if err := b.drop(ctx, tps); err != nil {
		b.s.log.Warn("sink did not give up its partitions", "err", err)
	}
}

// drop forgets partitions and tells the sinks what is left. b.mu is held.
func (b *batch) drop(ctx context.Context, tps []TopicPartition) error {
	before := len(b.parts)
	for _, tp := range tps {
		delete(b.parts, tp)
	}
	if len(b.parts) == before {
		return nil
	}
	if _, err := b.tell(ctx); err != nil {
		return b.fail(err)
	}
	return nil
}

// fail ends the session. b.mu is held.
func (b *batch) fail(err error) error {
	if b.broken == nil {
		b.broken = err
		b.s.abort(err)
	}
	return err
}

func (b *batch) background(context.Context) {}

func (b *batch) status() []PartitionStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]PartitionStatus, 0, len(b.parts))
	for tp, p := range b.parts {
		all = append(all, PartitionStatus{
			TopicPartition: tp, Position: p.committed, Committed: p.committed, Queued: p.events, Paused: p.held, fetched: p.position.offset,
		})
	}
	return all
}
