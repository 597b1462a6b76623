package relay

import (
	"errors"
	"os"
	"time"

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

// unspool deletes the entry of an event that the log holds. One that cannot be
// deleted is handed out again, when the spool is well, and found known then.
func (s *Server) unspool(e *spool.Entry) (deleted bool) {
	if err := s.spool.Delete(e); err != nil {
		s.spool.Return(e)
		s.throttled.Warn("cannot delete from the spool what is in the log", "err", err)
		return false
	}
	return true
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
