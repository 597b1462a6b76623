package consumers

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Bounds of what one partition holds in memory, in mode each.
const (
	// A partition is paused when its queue reaches this, and resumed at half
	// of it. What a fetch brings at once comes on top.
	queueRecords = 1000
	queueBytes   = 1 << 20
	// Handled events whose offset cannot be committed yet, because an earlier
	// event is still being retried. They come again after a crash.
	maxAhead = 1000
)

// partition is what mode each knows of one assigned partition: a queue of
// polled records, and those in flight. It runs until it is stopped: then nothing
// new starts and nobody waits for another attempt.
type partition struct {
	tp    TopicPartition
	share *share
	// life is the context of everything in flight; it ends when that must
	// give up.
	life   context.Context
	cancel context.CancelFunc
	// stopping is closed when the partition is stopped, idle when it is
	// stopped and nothing is in flight.
	stopping, idle chan struct{}
	maxActive      int
	client         *kgo.Client
	handle         func(*partition, *kgo.Record, *flight)
	// running is the session's count of handle goroutines, which it awaits.
	running *sync.WaitGroup

	mu          sync.Mutex
	queue       []*kgo.Record
	queuedBytes int
	window      window
	active      int // goroutines
	committed   int64
	fetched     int64 // the offset after the last one polled
	paused      bool
	held        bool
	stopped     bool
}

// enqueue takes polled records and starts what may start.
func (p *partition) enqueue(records []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.queue = append(p.queue, records...)
	for _, r := range records {
		p.queuedBytes += sizeOf(r)
	}
	p.fetched = records[len(records)-1].Offset + 1
	p.pump()
}

// pump starts records from the queue while they fit, and pauses or resumes
// fetching. p.mu is held; that orders pauses and resumes, which only set flags
// in the client.
func (p *partition) pump() {
	for !p.stopped && len(p.queue) > 0 && p.active < p.maxActive && len(p.window.flights) < maxAhead {
		r := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.queuedBytes -= sizeOf(r)
		f := p.window.add(r.Offset, r.LeaderEpoch)
		if r.Attrs.IsControl() {
			p.window.done(f) // A transaction's marker: nothing to handle.
			continue
		}
		p.active++
		p.running.Go(func() { p.handle(p, r, f) })
	}
	tps := map[string][]int32{p.tp.Topic: {p.tp.Partition}}
	switch {
	case !p.paused && (len(p.queue) >= queueRecords || p.queuedBytes >= queueBytes):
		p.paused = true
		p.client.PauseFetchPartitions(tps)
	case p.paused && !p.held && len(p.queue) <= queueRecords/2 && p.queuedBytes <= queueBytes/2:
		p.paused = false
		p.client.ResumeFetchPartitions(tps)
	}
}

// settle ends a flight. Without a final outcome the partition's position stays
// before it.
func (p *partition) settle(f *flight, o Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active--
	if o.final() {
		p.window.done(f)
	}
	p.pump()
	if p.stopped && p.active == 0 {
		close(p.idle)
	}
}

// stop makes the partition end as soon as what is running has ended. It may be
// called again.
func (p *partition) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.stopped = true
	p.queue, p.queuedBytes = nil, 0
	close(p.stopping)
	if p.active == 0 {
		close(p.idle)
	}
}

// hold stops fetching for good; what was polled is still handled.
func (p *partition) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.paused = true, true
	p.client.PauseFetchPartitions(map[string][]int32{p.tp.Topic: {p.tp.Partition}})
}

// close ends what is left of a stopped partition, and returns how many records
// were begun and have no outcome.
func (p *partition) close() (left int) {
	p.cancel()
	p.share.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.window.flights {
		if !f.done && f.begun.Load() {
			left++
		}
	}
	return left
}

// uncommitted returns the position, and whether it is ahead of what was
// committed.
func (p *partition) uncommitted() (mark, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.window.low, p.window.low.offset != p.committed
}

func (p *partition) setCommitted(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.committed = offset
}

func (p *partition) status() PartitionStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PartitionStatus{
		TopicPartition: p.tp, Position: p.window.low.offset, Committed: p.committed,
		InFlight: p.active, Queued: len(p.queue), Paused: p.paused, fetched: p.fetched,
	}
}

// sizeOf returns roughly what a record holds in memory.
func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}
