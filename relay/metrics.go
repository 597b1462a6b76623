package relay

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the relay's own; every label comes from the configuration or a
// closed set.
type metrics struct {
	requests       *prometheus.CounterVec
	conflicts      *prometheus.CounterVec
	verified       *prometheus.CounterVec
	requestSeconds prometheus.Histogram
	ackSeconds     prometheus.Histogram
	verifySeconds  prometheus.Observer
	claimSeconds   prometheus.Observer

	news, joined, duplicates prometheus.Counter

	late                                      prometheus.Counter
	spoolDrained, spoolDuplicates, spoolAside prometheus.Counter
}

// Buckets reach from an answer out of memory to past the longest deadline.
var seconds = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// newMetrics makes the metrics and registers them, and gauges that read the
// server. Registering one server twice is an error.
func newMetrics(s *Server, reg prometheus.Registerer) (*metrics, error) {
	steps := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "hooklog_relay_step_duration_seconds", Buckets: seconds,
		Help: "Time of the steps of a request: verify, claim.",
	}, []string{"step"})
	claims := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hooklog_index_claims_total", Help: "Claims by result.",
	}, []string{"result"})
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hooklog_relay_requests_total", Help: "Requests by source and outcome; every request has exactly one.",
		}, []string{"source", "outcome"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hooklog_relay_conflicts_total", Help: "Duplicates whose body differs from the first one's.",
		}, []string{"source"}),
		verified: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hooklog_relay_verified_total", Help: "Verified requests by the secret that verified them.",
		}, []string{"source", "secret"}),
		requestSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooklog_relay_request_duration_seconds", Help: "Time from a request's last byte to its answer.", Buckets: seconds,
		}),
		ackSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooklog_relay_ack_duration_seconds", Help: "Time from handing a record over to its acknowledgement.", Buckets: seconds,
		}),
		verifySeconds: steps.WithLabelValues("verify"),
		claimSeconds:  steps.WithLabelValues("claim"),
		news:          claims.WithLabelValues("new"),
		joined:        claims.WithLabelValues("joined"),
		duplicates:    claims.WithLabelValues("duplicate"),
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m.late = counter("hooklog_relay_late_total", "Events whose records landed after their senders were answered 503.")
	m.spoolDrained = counter("hooklog_spool_drained_total", "Spooled events that were written to the log.")
	m.spoolDuplicates = counter("hooklog_spool_duplicates_total", "Spooled events that the log was found to hold.")
	m.spoolAside = counter("hooklog_spool_set_aside_total", "Spooled events that the brokers refuse; they are kept.")
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	for _, c := range []prometheus.Collector{
		m.late, m.spoolDrained, m.spoolDuplicates, m.spoolAside,
		gauge("hooklog_spool_events", "Events in the spool.", func() float64 { return float64(s.SpoolStatus().Events) }),
		gauge("hooklog_spool_bytes", "Bytes of the events in the spool.", func() float64 { return float64(s.SpoolStatus().Bytes) }),
		gauge("hooklog_spool_oldest_age_seconds", "Age of the oldest event that waits in the spool.", func() float64 {
			return s.SpoolStatus().OldestAgeSeconds
		}),
		m.requests, m.conflicts, m.verified, m.requestSeconds, m.ackSeconds, steps, claims,
		gauge("hooklog_relay_in_flight_requests", "Requests being worked on.", func() float64 {
			return float64(s.load.requests.Load())
		}),
		gauge("hooklog_index_claims_held", "Claims held: in flight, in doubt, or not written yet.", func() float64 {
			held, _ := s.claims.Len()
			return float64(held)
		}),
		gauge("hooklog_index_claims_in_doubt", "Claims of events that the log may or may not hold.", func() float64 {
			_, doubts := s.claims.Len()
			return float64(doubts)
		}),
		gauge("hooklog_index_ids", "Event IDs remembered.", func() float64 { return float64(s.Status().Index.IDs) }),
		gauge("hooklog_index_behind_records", "Records of the log that the index does not cover yet.", func() float64 {
			return float64(s.Status().Follow.Behind)
		}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// resolve makes a source's counters, so that all of them are there from the
// start and counting looks nothing up.
func (m *metrics) resolve(s *source, name string) {
	for o := range outcomeCount {
		s.requests[o] = m.requests.WithLabelValues(name, o.String())
	}
	s.conflict = m.conflicts.WithLabelValues(name)
	if s.Verifier == nil {
		return
	}
	s.verified = make(map[string]prometheus.Counter)
	for _, id := range s.Verifier.SecretIDs() {
		s.verified[id] = m.verified.WithLabelValues(name, id)
	}
}
