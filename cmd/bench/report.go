package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"hooklog/cmd/bench/load"
)

// report is what the bench found; its JSON is one object.
type report struct {
	Broker      string         `json:"broker"`
	Machine     string         `json:"machine"`
	Connections int            `json:"connections"`
	BodyBytes   int            `json:"body_bytes"`
	Servers     []serverReport `json:"servers"`
}

type serverReport struct {
	Server string `json:"server"`
	Turns  []turn `json:"turns"`
	// Rate and CPU are those of this server by those of the last one, turn by
	// turn; absent for the last one itself.
	Rate *spread `json:"rate_ratio,omitempty"`
	CPU  *spread `json:"cpu_ratio,omitempty"`
}

// turn is one measured run of the load on one server.
type turn struct {
	Events   int         `json:"events"`
	Rate     float64     `json:"events_per_second"`
	P50      float64     `json:"p50_ms"`
	P99      float64     `json:"p99_ms"`
	P999     float64     `json:"p999_ms"`
	CPU      float64     `json:"cpu_us_per_event"`
	Errors   int         `json:"errors"`
	Statuses map[int]int `json:"statuses"`
}

// spread is the smallest, middle and largest of some numbers.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func newReport(o options) *report {
	r := &report{
		Machine:     fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Connections: o.connections, BodyBytes: o.bodySize,
	}
	for _, name := range o.servers {
		r.Servers = append(r.Servers, serverReport{Server: name})
	}
	return r
}

// add notes a turn of server i.
func (r *report) add(i int, result *load.Result, cpu time.Duration) turn {
	ms := func(q float64) float64 { return float64(result.Quantile(q).Microseconds()) / 1000 }
	t := turn{
		Events: result.Accepted, Rate: result.Rate(), P50: ms(50), P99: ms(99), P999: ms(99.9),
		CPU:    float64(cpu.Microseconds()) / float64(result.Accepted),
		Errors: result.Errors(), Statuses: result.Statuses,
	}
	r.Servers[i].Turns = append(r.Servers[i].Turns, t)
	return t
}

// ratios compares each server with the last one.
func (r *report) ratios() {
	last := r.Servers[len(r.Servers)-1].Turns
	for i := range r.Servers[:len(r.Servers)-1] {
		s := &r.Servers[i]
		var rate, cpu []float64
		for j := range s.Turns {
			rate = append(rate, s.Turns[j].Rate/last[j].Rate)
			if last[j].CPU > 0 {
				cpu = append(cpu, s.Turns[j].CPU/last[j].CPU)
			}
		}
		s.Rate, s.CPU = spreadOf(rate), spreadOf(cpu)
	}
}

// spreadOf returns nil for no numbers.
func spreadOf(all []float64) *spread {
	if len(all) == 0 {
		return nil
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return &spread{Min: all[0], Median: (all[(n-1)/2] + all[n/2]) / 2, Max: all[n-1]}
}

func (r *report) writeJSON(w io.Writer) error {
	r.ratios()
	return json.NewEncoder(w).Encode(r)
}

func (r *report) writeTable(w io.Writer) error {
	r.ratios()
	fmt.Fprintf(w, "%d connections, bodies of %d bytes, %s\nbroker: %s\n\n", r.Connections, r.BodyBytes, r.Machine, r.Broker)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "server\tturn\tevents/s\tp50 ms\tp99 ms\tp99.9 ms\tCPU µs/event\terrors\t")
	for _, s := range r.Servers {
		for j, t := range s.Turns {
			fmt.Fprintf(tw, "%s\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.1f\t%d\t\n", s.Server, j+1, t.Rate, t.P50, t.P99, t.P999, t.CPU, t.Errors)
		}
		pick := func(f func(turn) float64) *spread {
			var all []float64
			for _, t := range s.Turns {
				all = append(all, f(t))
			}
			return spreadOf(all)
		}
		fmt.Fprintf(tw, "%s\tmedian\t%.0f\t%.2f\t%.2f\t%.2f\t%.1f\t\t\n", s.Server,
			pick(func(t turn) float64 { return t.Rate }).Median,
			pick(func(t turn) float64 { return t.P50 }).Median,
			pick(func(t turn) float64 { return t.P99 }).Median,
			pick(func(t turn) float64 { return t.P999 }).Median,
			pick(func(t turn) float64 { return t.CPU }).Median)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	last := r.Servers[len(r.Servers)-1].Server
	for _, s := range r.Servers[:len(r.Servers)-1] {
		fmt.Fprintf(w, "\n%s / %s, turn by turn: events/s %s", s.Server, last, s.Rate)
		if s.CPU != nil {
			fmt.Fprintf(w, ", CPU per event %s", s.CPU)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// String returns the median and, in parentheses, the extremes.
func (s *spread) String() string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max)
}
