package consumers

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the package's metrics on one registerer. Groups that share the
// registerer share them, each with its own label.
type metrics struct {
	records  *prometheus.CounterVec
	events   *prometheus.CounterVec
	retries  *prometheus.CounterVec
	handle   *prometheus.HistogramVec
	flush    *prometheus.HistogramVec
	lag      *prometheus.GaugeVec
	stopped  *prometheus.GaugeVec
	lost     *prometheus.CounterVec
	sessions *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var errs []error
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(reg, &errs, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return register(reg, &errs, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
	}
	// From a memory lookup to the longest default timeout, doubling.
	buckets := prometheus.ExponentialBuckets(0.001, 2, 16)
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return register(reg, &errs, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
	}
	m := &metrics{
		records: counter("hooklog_consumer_records_total",
			"Consumed records by route and outcome. A record that several routes match counts once for each; one that none matches, or that is no event, has the empty route.", "group", "route", "outcome"),
		events: counter("hooklog_consumer_events_total",
			"Consumed records, each once, by the worst outcome of its routes.", "group", "outcome"),
		retries:  counter("hooklog_consumer_retries_total", "Attempts that failed and will be repeated.", "group", "route"),
		handle:   histogram("hooklog_consumer_handle_duration_seconds", "Time of one attempt of a handler.", "group", "route"),
		flush:    histogram("hooklog_consumer_flush_duration_seconds", "Time of one flush of the sinks.", "group"),
		lag:      gauge("hooklog_consumer_lag_records", "Records between what the group has settled and the end of the partition.", "group", "topic", "partition"),
		stopped:  gauge("hooklog_consumer_stopped_partitions", "1 for a partition that is assigned but stopped by an error.", "group", "topic", "partition"),
		lost:     counter("hooklog_consumer_lost_records_total", "Records that the log no longer had when the group came for them.", "group", "topic", "partition"),
		sessions: counter("hooklog_consumer_sessions_total", "Sessions with the brokers begun: one at the start, one more after each failure.", "group"),
	}
	return m, errors.Join(errs...)
}

// register registers c, or returns the one that another group registered.
func register[C prometheus.Collector](reg prometheus.Registerer, errs *[]error, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if other, ok := already.ExistingCollector.(C); ok {
			return other
		}
	}
	if err != nil {
		*errs = append(*errs, err)
	}
	return c
}

// declare makes a route's series exist from the start, at zero.
func (m *metrics) declare(group, route string) {
	m.retries.WithLabelValues(group, route)
	m.handle.WithLabelValues(group, route)
	for _, o := range []Outcome{Handled, DeadLettered} {
		m.records.WithLabelValues(group, route, o.String())
	}
}

// settled counts a record's end on one route.
func (m *metrics) settled(group, route string, o Outcome, n int) {
	m.records.WithLabelValues(group, route, o.String()).Add(float64(n))
}

// ended counts a record's end.
func (m *metrics) ended(group string, o Outcome, n int) {
	m.events.WithLabelValues(group, o.String()).Add(float64(n))
}

func (m *metrics) setLag(group string, tp TopicPartition, lag int64) {
	m.lag.WithLabelValues(group, tp.Topic, strconv.Itoa(int(tp.Partition))).Set(float64(lag))
}

func (m *metrics) setStopped(group string, tp TopicPartition) {
	m.stopped.WithLabelValues(group, tp.Topic, strconv.Itoa(int(tp.Partition))).Set(1)
}

func (m *metrics) addLost(group string, tp TopicPartition, n int64) {
	m.lost.WithLabelValues(group, tp.Topic, strconv.Itoa(int(tp.Partition))).Add(float64(n))
}

// forget removes what is said of a partition that is no longer assigned.
func (m *metrics) forget(group string, tp TopicPartition) {
	p := strconv.Itoa(int(tp.Partition))
	m.lag.DeleteLabelValues(group, tp.Topic, p)
	m.stopped.DeleteLabelValues(group, tp.Topic, p)
}
