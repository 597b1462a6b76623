package relay

import (
	"fmt"
	"time"

	"hooklog/relay/follow"
	"hooklog/relay/index"
)

// notReady says why no event can be taken, or "".
func (s *Server) notReady() string {
	switch s.phase.Load() {
	case starting:
		return "The relay is starting."
	case draining:
		return "The relay is shutting down."
	}
	if s.failure.Load() != nil {
		return "The relay has failed."
	}
	if !s.follower.CaughtUp() {
		return "The index is catching up with the log."
	}
	return ""
}

// closedTo says why no event of a source can be taken, or "". A source that
// spools can wait for the index and the log.
func (s *Server) closedTo(src *source) string {
	if s.spools(src) && s.phase.Load() != draining {
		return ""
	}
	return s.notReady()
}

// calmFor is how long the log must be well until the relay counts as ready
// again: an outage is one, however it flickers.
const calmFor = 2 * time.Second

// outage is a moment at which the log was unwell, and why.
type outage struct {
	seen   time.Time
	reason string
}

// Ready reports whether at least one source can be answered 2xx, and why not:
// the relay is starting or shutting down, its index is behind the log, or the
// log cannot be written, and no source spools or the spool has no room.
func (s *Server) Ready() (bool, string) {
	reason := s.unready()
	phase := s.phase.Load()
	if phase == draining || s.failure.Load() != nil {
		return false, reason
	}
	if phase == serving {
		now := time.Now()
		switch last := s.unwell.Load(); {
		case reason != "" && s.wasReady.Load():
			s.unwell.Store(&outage{now, reason})
		case reason == "" && last != nil && now.Sub(last.seen) < calmFor:
			reason = last.reason
		case reason == "":
			s.wasReady.Store(true)
		}
	}
	if reason == "" || s.spoolHasRoom() {
		return true, ""
	}
	return false, reason
}

// spoolHasRoom reports whether a source spools and could at the moment.
func (s *Server) spoolHasRoom() bool {
	if !s.spoolOpen.Load() || !s.sources.spool() {
		return false
	}
	st := s.spool.Stats()
	return st.Problem == "" && !st.Full
}

// unready is why the log side of the relay is not ready, or "".
func (s *Server) unready() string {
	if reason := s.notReady(); reason != "" {
		if s.phase.Load() == serving {
			if p := s.follower.Progress(); !s.follower.CaughtUp() && p.Total > 0 {
				reason = fmt.Sprintf("The index is catching up with the log: %v.", p)
			}
			if p := s.follower.Problem(); p != "" {
				reason += " " + p
			}
		}
		return reason
	}
	if p := s.follower.Problem(); p != "" {
		return "The log cannot be reached: " + p
	}
	if s.producer.stalled(s.now(), s.sources.longestDeadline()) {
		return "The log does not acknowledge."
	}
	return ""
}

// Status is what an operator sees of a relay.
type Status struct {
	InFlight int64        `json:"in_flight"`
	Claims   int          `json:"claims"`
	InDoubt  int          `json:"in_doubt"`
	Index    index.Stats  `json:"index"`
	Follow   follow.Stats `json:"follow"`
	Spool    SpoolStatus  `json:"spool"`
}

// Status returns the current figures.
func (s *Server) Status() Status {
	st := Status{InFlight: s.load.requests.Load()}
	st.Claims, st.InDoubt = s.claims.Len()
	if s.phase.Load() == serving {
		st.Index = s.index.Stats()
		st.Follow = s.follower.Stats()
		st.Spool = s.SpoolStatus()
	}
	return st
}
