package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"hooklog/relay/claim"
	"hooklog/relay/spool"
	"hooklog/schemas"
)

const (
	// drainEvery is how often the spool is looked at.
	drainEvery = 50 * time.Millisecond
	// drainAhead bounds the entries that the producer has at a time, so that new
	// events find room beside them.
	drainAhead = 512
	// reopenEvery is how often a spool that has failed is tried again.
	reopenEvery = time.Second
	// poisonAfter is how often the brokers refuse a record as such before it is
	// set aside.
	poisonAfter = 3
	// reportEvery is how often a spool that is not empty is logged.
	reportEvery = 10 * time.Second
)

// drain writes spooled events to the log, the oldest first, and looks after a
// spool that has failed, until ctx is done.
func (s *Server) drain(ctx context.Context) {
	if s.spool == nil {
		return
	}
	var reopened, reported time.Time
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		select {
		case <-s.spool.Failed():
			if now.Sub(reopened) >= reopenEvery {
				reopened = now
				if err := s.spool.Reopen(); err != nil {
					s.throttled.Warn("spool has failed, trying again", "err", err)
				}
			}
			continue
		default:
		}
		s.rate.tick(now)
		if now.Sub(reported) >= reportEvery {
			reported = now
			if st := s.SpoolStatus(); st.Events > 0 {
				s.log.Info("events are in the spool", "events", st.Events, "bytes", st.Bytes,
					"oldest", time.Duration(st.OldestAgeSeconds*float64(time.Second)).Round(time.Second),
					"drained_per_second", int(st.DrainRate), "left", time.Duration(max(0, st.LeftSeconds)*float64(time.Second)).Round(time.Second))
			}
		}
		s.drainWaiting(ctx)
	}
}

// drainWaiting hands waiting entries to the producer, the oldest first, as long
// as now is the time. One whose event somebody else has in hand is passed over
// until the next time.
func (s *Server) drainWaiting(ctx context.Context) {
	var passed []*spool.Entry
	for ctx.Err() == nil && s.notReady() == "" && s.drainAhead.Load() < drainAhead {
		e, ok := s.spool.Take()
		if !ok {
			break
		}
		cl, role := s.claims.Begin(e.Key, e.BodySum)
		if role != claim.Owner {
			passed = append(passed, e)
			if role == claim.Full {
				break
			}
			continue
		}
		if !s.drainEntry(e, cl) {
			s.claims.Release(cl, errSpooled)
			passed = append(passed, e)
			break
		}
	}
	for _, e := range passed {
		s.spool.Return(e)
	}
}

// drainEntry hands an entry to the producer, or finds that the log has it. It
// returns false if now is not the time.
func (s *Server) drainEntry(e *spool.Entry, cl *claim.Claim) bool {
	stored, err := s.spool.Read(e)
	if err != nil {
		return false
	}
	rec, err := schemas.ParseSpooled(stored)
	if err != nil {
		s.claims.Release(cl, errSpooled)
		s.setAside(e, err.Error())
		return true
	}
	window := s.sources.longestWindow(s.opts.Window)
	if name, _, ok := schemas.Identify(rec); ok && s.sources.window(name) > 0 {
		window = s.sources.window(name)
	}
	since := s.index.Version()
	fact, known, err := s.index.Lookup(e.Key, e.Arrived.Add(-window))
	switch {
	case err != nil:
		s.fail(err)
		return false
	case known: // By an earlier process, or by another relay.
		s.claims.Commit(cl, s.index.Position(fact))
		s.claims.Forget(cl)
		if s.unspool(e) {
			s.metrics.spoolDuplicates.Inc()
		}
		return true
	case !s.follower.CaughtUp(), !s.producer.admits(s.now(), s.sources.longestDeadline()):
		return false
	}
	s.claims.Leave(cl)
	s.drainAhead.Add(1)
	s.producer.produce(rec, settlement{claim: cl, window: window, since: since, drained: s})
	return true
}

func (s *Server) setAside(e *spool.Entry, reason string) {
	if err := s.spool.SetAside(e, reason); err != nil {
		s.spool.Return(e)
		s.throttled.Warn("cannot set a spooled event aside", "err", err)
		return
	}
	s.metrics.spoolAside.Inc()
	s.log.Error("spooled event cannot be written to the log and is set aside", "err", reason, "arrived", e.Arrived)
}

// handedBack is called by the producer for an entry whose record it has no more:
// what became of it is for the settler to say, but for one that it never took.
func (s *Server) handedBack(c *claim.Claim, taken bool) {
	s.drainAhead.Add(-1)
	if taken {
		return
	}
	if e, ok := s.spool.Peek(c.Key()); ok {
		s.spool.Return(e)
	}
}

// poison reports whether an error lies in the record and not in the brokers'
// state: no attempt will do better.
func poison(err error) bool {
	for _, is := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// rate is how many events a second were drained, over the last seconds.
type rate struct {
	mu    sync.Mutex
	count float64 // since last
	last  time.Time
	value float64
}

func (r *rate) add(n int) {
	r.mu.Lock()
	r.count += float64(n)
	r.mu.Unlock()
}

// tick takes stock about once a second.
func (r *rate) tick(now time.Time) {
	const smooth = 0.3 // of a new second
	r.mu.Lock()
	defer r.mu.Unlock()
	took := now.Sub(r.last).Seconds()
	if took < 1 {
		return
	}
	if r.last.IsZero() {
		took = 1
	}
	r.value = (1-smooth)*r.value + smooth*r.count/took
	if r.value < 0.01 {
		r.value = 0
	}
	r.count, r.last = 0, now
}

func (r *rate) perSecond() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value
}

// spooled is what the settler does with the spool's entries.
type spooled struct{ s *Server }

func (s *Server) spooled() *spooled {
	if s.spool == nil {
		return nil
	}
	return &spooled{s}
}

// committed deletes the entry of an event that the index knows, if it has one.
// Where the owner has not left, the entry is the owner's matter.
func (sp *spooled) committed(c *claim.Claim) (drained bool) {
	if sp == nil || !c.Left() {
		return false
	}
	e, ok := sp.s.spool.Peek(c.Key())
	if !ok {
		return false
	}
	if sp.s.unspool(e) { // Else it is counted when it is found known.
		sp.s.rate.add(1)
		sp.s.metrics.spoolDrained.Inc()
	}
	return true
}

// absent gives back the entry of an event that the log does not hold.
func (sp *spooled) absent(c *claim.Claim, why error) {
	if sp == nil {
		return
	}
	e, ok := sp.s.spool.Peek(c.Key())
	if !ok {
		return
	}
	if poison(why) && e.Refuse() >= poisonAfter {
		sp.s.setAside(e, fmt.Sprintf("the brokers refuse its record: %v", why))
		return
	}
	sp.s.spool.Return(e)
}
