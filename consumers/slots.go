package consumers

import "sync"

// slots bound how many handlers run at once. They are shared fairly: a
// partition that runs fewest is served first, and while partitions without a
// slot exist, half of the slots at most are kept free for them, so that one
// partition whose handlers hang does not stop the others.
type slots struct {
	mu sync.Mutex
	// max is how many there are; free how many of them nobody holds.
	max, free int
	shares    map[*share]struct{}
}

// share is one partition's part in the slots.
type share struct {
	all     *slots
	held    int
	waiting []chan struct{} // closed when granted, first come first served
}

func newSlots(n int) *slots {
	return &slots{max: n, free: n, shares: make(map[*share]struct{})}
}

// join makes a share; leave ends it.
func (s *slots) join() *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &share{all: s}
	s.shares[h] = struct{}{}
	return h
}

// leave returns what the share was kept free. Slots that are still held are
// released as usual.
func (h *share) leave() {
	h.all.mu.Lock()
	defer h.all.mu.Unlock()
	delete(h.all.shares, h)
	h.all.grant()
}

// acquire waits for a slot or for stop; it reports whether it got one.
func (h *share) acquire(stop <-chan struct{}) bool {
	s := h.all
	granted := make(chan struct{})
	s.mu.Lock()
	h.waiting = append(h.waiting, granted)
	s.grant()
	s.mu.Unlock()
	select {
	case <-granted:
		return true
	case <-stop:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range h.waiting {
		if c == granted {
			h.waiting = append(h.waiting[:i], h.waiting[i+1:]...)
			return false
		}
	}
	h.release() // Granted and stopped at the same moment.
	return false
}

// giveBack releases a slot.
func (h *share) giveBack() {
	h.all.mu.Lock()
	defer h.all.mu.Unlock()
	h.release()
}

func (h *share) release() {
	h.held--
	h.all.free++
	h.all.grant()
}

// grant hands out what may be handed out. s.mu is held.
func (s *slots) grant() {
	for s.free > 0 {
		var next *share
		idle := 0 // shares that hold nothing
		for h := range s.shares {
			if h.held == 0 {
				idle++
			}
			if len(h.waiting) > 0 && (next == nil || h.held < next.held) {
				next = h
			}
		}
		if next == nil || next.held > 0 && s.free <= min(idle, s.max/2) {
			return
		}
		close(next.waiting[0])
		next.waiting = next.waiting[1:]
		next.held++
		s.free--
	}
}
