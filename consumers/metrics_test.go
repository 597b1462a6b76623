package consumers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"hooklog/consumers"
)

// wantMetric waits for a series, written as in the text format with sorted
// labels, to have a value; one that does not exist is zero.
func wantMetric(t *testing.T, reg prometheus.Gatherer, series string, want float64) {
	t.Helper()
	eventually(t, func() error {
		all, err := gather(reg)
		if err != nil {
			return err
		}
		if got := all[series]; got != want {
			return fmt.Errorf("%s is %v, want %v; there are %v", series, got, want, all)
		}
		return nil
	})
}

func gather(reg prometheus.Gatherer) (map[string]float64, error) {
	families, err := reg.Gather()
	if err != nil {
		return nil, err
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all, nil
}

func TestGroupsShareARegisterer(t *testing.T) {
	l := newLog(t, 1)
	reg := prometheus.NewRegistry()
	for _, name := range []string{"one", "two"} {
		var s seen
		o := l.options(consumers.Handle("*", s.handler(nil)))
		o.Group, o.Registerer = name, reg
		run(t, o)
	}
	l.put(0, "a", "x")
	for _, name := range []string{"one", "two"} {
		wantMetric(t, reg, fmt.Sprintf(`hooklog_consumer_records_total{group=%q,outcome="handled",route="*"}`, name), 1)
		wantMetric(t, reg, fmt.Sprintf(`hooklog_consumer_handle_duration_seconds{group=%q,route="*"}`, name), 1)
	}
}

func TestLag(t *testing.T) {
	l := newLog(t, 1)
	reg := prometheus.NewRegistry()
	gate := make(chan struct{})
	o := l.options(consumers.Handle("*", gated(gate)))
	o.Registerer = reg
	for i := range 3 {
		l.put(0, fmt.Sprint(i), "x")
	}
	g := run(t, o)
	const series = `hooklog_consumer_lag_records{group="g",partition="0",topic="webhooks"}`
	wantMetric(t, reg, series, 3)
	if p := g.Status().Partitions; len(p) != 1 || p[0].End != 3 || p[0].Lag != 3 {
		t.Errorf("status is %+v, want end and lag 3", p)
	}
	close(gate)
	wantMetric(t, reg, series, 0)
	if err := g.stop(); err != nil {
		t.Error(err)
	}
	all, err := gather(reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := all[series]; ok {
		t.Error("the lag of a partition that is no longer assigned is still there")
	}
}
