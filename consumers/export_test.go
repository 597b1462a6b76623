package consumers

// What tests of the package's inside need.
var (
	RetryWait = func(r Retry, n int, err error, roll float64) string {
		return r.wait(n, err, roll).String()
	}
	WorstOf     = worst
	OutcomeNone = outcomeNone
)

const (
	QueueRecords = queueRecords
	MaxAhead     = maxAhead
)

// Slots makes shares of n slots.
func Slots(n, shares int) (all []*share) {
	s := newSlots(n)
	for range shares {
		all = append(all, s.join())
	}
	return all
}

// TryAcquire acquires a slot if there is one now.
func (h *share) TryAcquire() bool {
	h.all.mu.Lock()
	granted := make(chan struct{})
	h.waiting = append(h.waiting, granted)
	h.all.grant()
	h.all.mu.Unlock()
	select {
	case <-granted:
		return true
	default:
	}
	h.all.mu.Lock()
	defer h.all.mu.Unlock()
	h.waiting = h.waiting[:len(h.waiting)-1]
	return false
}

func (h *share) GiveBack() { h.giveBack() }
func (h *share) Leave()    { h.leave() }
