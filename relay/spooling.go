package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/claim"
	"hooklog/relay/signature"
	"hooklog/relay/spool"
	"hooklog/schemas"
)

// errSpooled releases the claim of an event that is in the spool and in nobody
// else's hands: copies of it are answered by the entry.
var errSpooled = errors.New("event is in the spool")

// openSpool opens the spool if a source spools, or has once: what is left in it
// is drained whatever the sources do now.
func (s *Server) openSpool() error {
	dir := s.opts.SpoolDir
	if dir == "" {
		return nil
	}
	if !s.sources.spool() {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	var err error
	if s.spool, err = s.openSpoolStore(spool.Options{Dir: dir, MaxBytes: s.opts.SpoolBytes, Logger: s.log}); err != nil {
		return err
	}
	s.spoolOpen.Store(true)
	return nil
}

// spools reports whether events of a source may be kept in the spool.
func (s *Server) spools(src *source) bool { return src.Outage == OutageSpool && s.spool != nil }

// inSpool returns the entry of an event. Most of the time there is none at all.
func (s *Server) inSpool(key schemas.EventKey) (*spool.Entry, bool) {
	if s.spool == nil {
		return nil, false
	}
	return s.spool.Lookup(key)
}

// keep puts the event of a request into the spool and answers when it is
// durable there. taken says that the producer has its record.
func (s *Server) keep(r *request, key schemas.EventKey, rec *kgo.Record, taken bool) (*spool.Entry, *answer) {
	e, err := s.spool.Put(spool.Event{
		Key: key, BodySum: r.body, Arrived: r.arrived, Record: schemas.AppendSpooled(nil, rec),
	}, taken)
	if err == nil {
		s.noteConflict(r, e.BodySum)
		return e, nil
	}
	var refusal answer
	if errors.Is(err, spool.ErrFull) {
		refusal = refuse(SpoolFull, "The log is unavailable and the spool is full.")
		refusal.retryAfter = s.spoolRetryAfter()
	} else {
		refusal = refuse(LogUnavailable, "The log is unavailable and the spool has failed.")
	}
	s.throttled.Warn("event cannot be spooled", "source", r.source.Name, "err", err)
	return nil, &refusal
}

// keepUnseen spools an event that cannot be looked up: the index is not there
// yet, or is behind. Whether it is new is found out when it is drained.
func (s *Server) keepUnseen(r *request, result signature.Result) answer {
	event := r.event(result)
	if _, refusal := s.keep(r, schemas.KeyOf(r.source.Name, r.id), schemas.Encode(&event, r.source.Topic), false); refusal != nil {
		return *refusal
	}
	return answer{outcome: Spooled}
}

// keepInstead spools the event of a claim whose record the producer does not
// have, and releases the claim.
func (s *Server) keepInstead(r *request, cl *claim.Claim, rec *kgo.Record, why error) answer {
	if _, refusal := s.keep(r, cl.Key(), rec, false); refusal != nil {
		s.claims.Release(cl, why)
		return *refusal
	}
	s.claims.Release(cl, errSpooled)
	return answer{outcome: Spooled}
}

// overdue spools the event of a claim whose record the producer has and the log
// has not acknowledged in time. The entry is the durable twin of that record.
func (s *Server) overdue(r *request, cl *claim.Claim, rec *kgo.Record) answer {
	e, refusal := s.keep(r, cl.Key(), rec, true)
	if s.claims.Leave(cl) {
		// Settled later: then the settler finds the entry.
		if refusal != nil {
			return *refusal
		}
		return answer{outcome: Spooled}
	}
	pos, err := cl.Outcome()
	switch {
	case err == nil:
		if refusal == nil {
			s.unspool(e)
		}
		return answer{outcome: Accepted, position: pos}
	case refusal != nil:
		return *refusal
	}
	s.spool.Return(e) // The log does not have it.
	return answer{outcome: Spooled}
}

// unspool deletes the entries of events that the log holds and the index
// knows, or whose owner was answered so. One that cannot be deleted is found
// known when it is drained.
func (s *Server) unspool(entries ...*spool.Entry) {
	if err := s.spool.Delete(entries...); err != nil {
		s.throttled.Warn("cannot delete from the spool what is in the log", "err", err)
	}
}

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
		for s.drainOne() && ctx.Err() == nil {
		}
	}
}

// drainOne hands the oldest waiting entry to the producer. It returns false if
// there is none, or now is not the time.
func (s *Server) drainOne() bool {
	if s.notReady() != "" || s.drainAhead.Load() >= drainAhead {
		return false
	}
	e, ok := s.spool.Take()
	if !ok {
		return false
	}
	cl, role := s.claims.Begin(e.Key, e.BodySum)
	if role != claim.Owner {
		s.spool.Return(e) // A copy is under way, or the table is full.
		return false
	}
	// What is known was acknowledged before this process began, or by another
	// relay: it may be older than the window, as an event that waited long.
	fact, known, err := s.index.Lookup(e.Key, e.Arrived.Add(-s.sources.longestWindow(s.opts.Window)))
	switch {
	case err != nil:
		s.fail(err)
		s.claims.Release(cl, err)
		s.spool.Return(e)
		return false
	case known:
		s.claims.Commit(cl, s.index.Position(fact))
		s.claims.Forget(cl)
		s.unspool(e)
		s.metrics.spoolDuplicates.Inc()
		return true
	case !s.follower.CaughtUp():
		s.claims.Release(cl, errSpooled)
		s.spool.Return(e)
		return false
	case !s.producer.admits(s.now(), s.sources.longestDeadline()):
		s.claims.Release(cl, errSpooled)
		s.spool.Return(e)
		return false
	}
	record, err := s.spool.Read(e)
	var rec *kgo.Record
	if err == nil {
		if rec, err = schemas.ParseSpooled(record); err != nil {
			s.claims.Release(cl, errSpooled)
			s.setAside(e, err.Error())
			return true
		}
	}
	if err != nil {
		s.claims.Release(cl, errSpooled)
		s.spool.Return(e)
		return false
	}
	s.claims.Leave(cl)
	s.drainAhead.Add(1)
	s.producer.produce(rec, settlement{claim: cl, window: s.sources.longestWindow(s.opts.Window), drained: s})
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

// SpoolStatus is what an operator sees of the spool.
type SpoolStatus struct {
	spool.Stats
	// DrainRate is how many events a second were drained of late, and
	// LeftSeconds how long the rest takes at that rate; -1 if nothing is drained.
	DrainRate   float64 `json:"drained_per_second"`
	LeftSeconds float64 `json:"left_seconds"`
}

// SpoolStatus returns the current figures; zero if nothing is spooled.
func (s *Server) SpoolStatus() SpoolStatus {
	if !s.spoolOpen.Load() {
		return SpoolStatus{}
	}
	st := SpoolStatus{Stats: s.spool.Stats(), DrainRate: s.rate.perSecond(), LeftSeconds: -1}
	if st.DrainRate > 0 {
		st.LeftSeconds = float64(st.Events) / st.DrainRate
	}
	return st
}

// spoolRetryAfter is when it makes sense to send again what did not fit: when a
// tenth of the spool is drained, or half a minute if nothing is.
func (s *Server) spoolRetryAfter() time.Duration {
	const idle = 30 * time.Second
	st := s.SpoolStatus()
	if st.LeftSeconds < 0 {
		return idle
	}
	return min(max(time.Duration(st.LeftSeconds/10*float64(time.Second)), time.Second), 10*time.Minute)
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
	sp.s.unspool(e)
	sp.s.rate.add(1)
	sp.s.metrics.spoolDrained.Inc()
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
