package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/schemas"
)

// each is the delivery mode of handlers: one event at a time, concurrently
// within MaxInFlight, at least once. A record has a goroutine of its own from
// its start to its outcome; it holds a slot only while a handler runs, so a
// record that waits for its next attempt stops nobody. Offsets are committed
// as far as everything before them has its outcome.
type each struct {
	s      *session
	router *router
	slots  *slots

	// commitMu is held from looking at positions to the broker's answer, so
	// that a position is never committed after its partition was given away.
	// It is taken before mu.
	commitMu sync.Mutex

	mu    sync.Mutex
	parts map[TopicPartition]*partition
}

func newEach(s *session, r *router) *each {
	return &each{s: s, router: r, slots: newSlots(s.opts.MaxInFlight), parts: make(map[TopicPartition]*partition)}
}

func (e *each) assigned(_ context.Context, start map[TopicPartition]mark) (map[TopicPartition]mark, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for tp, m := range start {
		life, cancel := context.WithCancel(e.s.life)
		e.parts[tp] = &partition{
			tp: tp, share: e.slots.join(), life: life, cancel: cancel,
			stopping: make(chan struct{}), idle: make(chan struct{}), maxActive: e.s.opts.MaxInFlight,
			client: e.s.client, handle: e.handle, running: &e.s.handlers,
			window: window{low: m}, committed: m.offset, fetched: m.offset,
		}
	}
	return start, nil
}

func (e *each) take(_ context.Context, tp TopicPartition, records []*kgo.Record) error {
	if p := e.part(tp); p != nil {
		p.enqueue(records)
	}
	return nil
}

func (e *each) tick(context.Context) (time.Time, error) { return time.Time{}, nil }

// handle takes one record to its outcome.
func (e *each) handle(p *partition, r *kgo.Record, f *flight) {
	outcome := Internal // Stays if a handler ends the goroutine.
	defer func() {
		if outcome != outcomeNone {
			e.s.metrics.ended(e.s.opts.Group, outcome, 1)
		}
		p.settle(f, outcome)
	}()
	outcome = e.process(p, r, f)
}

func (e *each) process(p *partition, r *kgo.Record, f *flight) Outcome {
	ev, err := schemas.Decode(r)
	if err != nil {
		f.begun.Store(true)
		return e.deadLetter(p, r, failure{class: ClassNotEvent, err: err})
	}
	var stack [4]*route
	routes := e.router.match(stack[:0], ev.Source, ev.Type)
	switch len(routes) {
	case 0:
		e.s.metrics.settled(e.s.opts.Group, "", Unrouted, 1)
		return Unrouted
	case 1:
		return e.deliver(p, routes[0], r, f, ev)
	}
	// Side by side: a route that is retried for minutes must not delay the others.
	outcomes := make([]Outcome, len(routes))
	var wg sync.WaitGroup
	for i, t := range routes {
		outcomes[i] = Internal
		wg.Go(func() { outcomes[i] = e.deliver(p, t, r, f, ev) })
	}
	wg.Wait()
	all := outcomes[0]
	for _, o := range outcomes[1:] {
		all = worst(all, o)
	}
	return all
}

// deliver takes a record to its outcome on one route.
func (e *each) deliver(p *partition, t *route, r *kgo.Record, f *flight, ev schemas.Event) Outcome {
	for n := 1; ; n++ {
		if !p.share.acquire(p.stopping) {
			return outcomeNone
		}
		f.begun.Store(true)
		class, err := e.attempt(p, t, ev)
		switch {
		case err == nil:
			e.s.metrics.settled(e.s.opts.Group, t.name, Handled, 1)
			return Handled
		case p.life.Err() != nil:
			return outcomeNone // Cut short by us: that says nothing of the event.
		case class == ClassPermanent || n >= e.s.opts.Retry.Attempts:
			return e.deadLetter(p, r, failure{route: t.name, attempts: n, class: class, err: err})
		}
		e.s.metrics.retries.WithLabelValues(e.s.opts.Group, t.name).Inc()
		wait := e.s.opts.Retry.Wait(n, err)
		e.s.log.Debug("handler failed, trying again", "route", t.name, "event_id", ev.ID, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "attempt", n, "wait", wait, "err", err)
		if !pause(wait, p.stopping) {
			return outcomeNone
		}
	}
}

// attempt runs the handler once. It holds a slot, and gives it back.
func (e *each) attempt(p *partition, t *route, ev schemas.Event) (ErrorClass, error) {
	defer p.share.giveBack()
	begin := time.Now()
	class, err := Attempt(p.life, t.handler, ev, e.s.opts.Timeout)
	e.s.metrics.handle.WithLabelValues(e.s.opts.Group, t.name).Observe(time.Since(begin).Seconds())
	var panicked *panicError
	if errors.As(err, &panicked) {
		e.s.log.Error("handler panicked", "route", t.name, "event_id", ev.ID, "event_type", ev.Type, "err", err, "stack", string(panicked.stack))
	}
	return class, err
}

// deadLetter writes a dead letter until it is acknowledged, or until the
// partition stops.
func (e *each) deadLetter(p *partition, r *kgo.Record, f failure) Outcome {
	for n := 1; ; n++ {
		err := e.s.dead.write(p.life, r, f)
		if err == nil {
			break
		}
		if p.life.Err() != nil {
			return outcomeNone
		}
		if dropped, ok := e.s.repeats.allow("dead letter " + err.Error()); ok {
			e.s.log.Error("dead letter not written, its offset waits", "route", f.route, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err, "repeats", dropped)
		}
		if !pause(e.s.opts.Retry.Wait(n, nil), p.stopping) {
			return outcomeNone
		}
	}
	e.s.metrics.settled(e.s.opts.Group, f.route, DeadLettered, 1)
	e.s.log.Warn("event dead-lettered", "route", f.route, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "attempt", f.attempts, "class", f.class, "err", f.err)
	return DeadLettered
}

// background commits now and then.
func (e *each) background(ctx context.Context) {
	for pause(e.s.opts.CommitEvery, ctx.Done()) {
		if err := e.commit(ctx, e.all()); err != nil && ctx.Err() == nil {
			e.s.log.WarnContext(ctx, "commit failed, trying again", "err", err)
		}
	}
}

// commit commits what is settled of these partitions and was not committed.
func (e *each) commit(ctx context.Context, parts []*partition) error {
	e.commitMu.Lock()
	defer e.commitMu.Unlock()
	marks := make(map[TopicPartition]mark)
	for _, p := range parts {
		if m, ok := p.uncommitted(); ok && e.part(p.tp) == p {
			marks[p.tp] = m
		}
	}
	if err := e.s.commit(ctx, marks); err != nil {
		return err
	}
	for _, p := range parts {
		if m, ok := marks[p.tp]; ok {
			p.setCommitted(m.offset)
		}
	}
	return nil
}

func (e *each) hold(tp TopicPartition) {
	if p := e.part(tp); p != nil {
		p.hold()
	}
}

func (e *each) revoked(ctx context.Context, tps []TopicPartition) error {
	parts := e.some(tps)
	for _, p := range parts {
		p.stop()
	}
	waitIdle(ctx, parts)
	left := e.end(parts)
	// Not with ctx: that may be over, and a commit has its own bound.
	err := e.commit(context.WithoutCancel(ctx), parts)
	e.remove(parts)
	if left > 0 {
		err = errors.Join(err, fmt.Errorf("%d events are not finished, they come again", left))
	}
	return err
}

func (e *each) lost(tps []TopicPartition) {
	parts := e.some(tps)
	for _, p := range parts {
		p.stop()
	}
	e.end(parts)
	e.commitMu.Lock() // A commit that is under way fails or ends first.
	defer e.commitMu.Unlock()
	e.remove(parts)
}

// end cuts short what still runs and closes the partitions. It returns how
// many records were left without an outcome.
func (e *each) end(parts []*partition) (left int) {
	for _, p := range parts {
		p.cancel()
	}
	ctx, cancel := context.WithTimeout(e.s.life, cancelGrace)
	defer cancel()
	waitIdle(ctx, parts)
	for _, p := range parts {
		left += p.close()
	}
	return left
}

func waitIdle(ctx context.Context, parts []*partition) {
	for _, p := range parts {
		select {
		case <-p.idle:
		case <-ctx.Done():
			return
		}
	}
}

func (e *each) part(tp TopicPartition) *partition {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.parts[tp]
}

func (e *each) some(tps []TopicPartition) (parts []*partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, tp := range tps {
		if p := e.parts[tp]; p != nil {
			parts = append(parts, p)
		}
	}
	return parts
}

func (e *each) all() (parts []*partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.parts {
		parts = append(parts, p)
	}
	return parts
}

func (e *each) remove(parts []*partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range parts {
		delete(e.parts, p.tp)
	}
}

func (e *each) status() []PartitionStatus {
	var all []PartitionStatus
	for _, p := range e.all() {
		all = append(all, p.status())
	}
	return all
}
