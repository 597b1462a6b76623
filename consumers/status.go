package consumers

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Status is what a group is doing, for people and consoles.
type Status struct {
	Group string `json:"group"`
	// Member is the broker's name of this member, empty before it has joined.
	Member string `json:"member"`
	// Error is why there is no session with the brokers at the moment; empty
	// if there is one.
	Error      string            `json:"error,omitempty"`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is the state of one assigned partition.
type PartitionStatus struct {
	TopicPartition
	// Position is the offset before which everything has an outcome, and
	// Committed what of it the broker knows; both -1 for a partition that
	// stands still since its assignment.
	Position  int64 `json:"position"`
	Committed int64 `json:"committed"`
	// End is the end of the log, as of a few seconds ago; -1 if not known.
	// Lag is how far Position is behind it.
	End int64 `json:"end"`
	Lag int64 `json:"lag"`
	// InFlight counts the events that are handled or wait for another
	// attempt, Queued those fetched and not begun.
	InFlight int  `json:"in_flight"`
	Queued   int  `json:"queued"`
	Paused   bool `json:"paused"`
	// Stopped is why the partition stands still until someone decides; empty
	// if it does not.
	Stopped string `json:"stopped,omitempty"`

	// fetched is the next offset to poll.
	fetched int64
}

func (s *session) status() []PartitionStatus {
	list := s.mode.status()
	s.mu.Lock()
	defer s.mu.Unlock()
	has := make(map[TopicPartition]bool, len(list))
	for i := range list {
		has[list[i].TopicPartition] = true
	}
	for tp := range s.stopped {
		if !has[tp] {
			list = append(list, PartitionStatus{TopicPartition: tp, Position: -1, Committed: -1})
		}
	}
	for i := range list {
		p := &list[i]
		if err := s.stopped[p.TopicPartition]; err != nil {
			p.Stopped = err.Error()
		}
		p.End = -1
		if end, ok := s.ends[p.TopicPartition]; ok {
			p.End = end
			if p.Position >= 0 {
				p.Lag = max(end-p.Position, 0)
			}
		}
	}
	slices.SortFunc(list, func(a, b PartitionStatus) int { return comparePartitions(a.TopicPartition, b.TopicPartition) })
	return list
}

// observe keeps the lag up to date.
func (s *session) observe(ctx context.Context) {
	for {
		s.measure(ctx)
		if !pause(observeEvery, ctx.Done()) {
			return
		}
	}
}

func (s *session) measure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	ends, err := s.admin.ListEndOffsets(ctx, s.opts.Topics...)
	if err != nil {
		return // The brokers cannot be reached: polling says so.
	}
	list := s.mode.status()
	s.mu.Lock()
	for i := range list {
		if e, ok := ends.Lookup(list[i].Topic, list[i].Partition); ok && e.Err == nil {
			s.ends[list[i].TopicPartition] = e.Offset
		}
	}
	s.mu.Unlock()
	list = s.status()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range list {
		// A partition that was forgotten meanwhile has no end any more.
		if _, ok := s.ends[p.TopicPartition]; ok && p.Position >= 0 {
			s.metrics.setLag(s.opts.Group, p.TopicPartition, p.Lag)
		}
	}
}

// throttle lets one of each kind of message through per interval. It is safe
// for concurrent use.
type throttle struct {
	every time.Duration

	mu   sync.Mutex
	last map[string]*repeats
}

type repeats struct {
	at      time.Time
	dropped int
}

// maxMessages bounds the kinds that are told apart.
const maxMessages = 1000

func newThrottle(every time.Duration) *throttle {
	return &throttle{every: every, last: make(map[string]*repeats)}
}

// allow reports whether to let a message through, and how many were dropped
// before it.
func (t *throttle) allow(message string) (dropped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	r := t.last[message]
	if r == nil {
		if len(t.last) >= maxMessages {
			clear(t.last)
		}
		t.last[message] = &repeats{at: now}
		return 0, true
	}
	if now.Sub(r.at) < t.every {
		r.dropped++
		return 0, false
	}
	dropped = r.dropped
	*r = repeats{at: now}
	return dropped, true
}
