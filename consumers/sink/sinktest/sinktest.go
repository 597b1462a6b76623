// Package sinktest tests that a consumers.Sink keeps its contract. It is meant
// for tests of sinks, ours and others':
//
//	sinktest.Run(t, func(t *testing.T) sinktest.Harness { ... })
package sinktest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"hooklog/consumers"
	"hooklog/schemas"
)

// Harness is what a sink's own test knows.
type Harness struct {
	// Open returns a sink on the same store each time; the one before was
	// closed, or left as a crash would leave it.
	Open func() consumers.Sink
	// Close releases a sink; with crash it must do nothing that a killed
	// process would not have done.
	Close func(s consumers.Sink, crash bool)
	// Read returns the positions that a reader sees, in any order.
	Read func() []schemas.Position
}

const topic = "webhooks"

// Run runs the suite, with a harness of its own for each test.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"what is flushed is there", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0, at(1): 5})
			s.write(0, 0, 3)
			s.write(1, 5, 7)
			s.flush(consumers.Offsets{at(0): 3, at(1): 7})
			s.want(pos(0, 0, 3), pos(1, 5, 7))
		}},
		{"what is flushed survives a crash", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0})
			s.write(0, 0, 3)
			s.flush(consumers.Offsets{at(0): 3})
			s.reopen(true)
			s.assign(consumers.Offsets{at(0): 3})
			s.write(0, 3, 4)
			s.flush(consumers.Offsets{at(0): 4})
			s.want(pos(0, 0, 4))
		}},
		{"what is not committed comes again, once", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0})
			s.write(0, 0, 2)
			s.flush(consumers.Offsets{at(0): 2})
			s.write(0, 2, 4)
			s.flush(consumers.Offsets{at(0): 4}) // Crash before this commit.
			s.write(0, 4, 6)                     // Not even flushed.
			s.reopen(true)
			s.assign(consumers.Offsets{at(0): 2})
			s.write(0, 2, 5)
			s.flush(consumers.Offsets{at(0): 5})
			s.write(0, 5, 6)
			s.flush(consumers.Offsets{at(0): 6})
			s.want(pos(0, 0, 6))
		}},
		{"partitions are flushed one by one", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0, at(1): 0})
			s.write(0, 0, 2)
			s.write(1, 0, 2)
			s.flush(consumers.Offsets{at(1): 2})
			s.reopen(true)
			s.assign(consumers.Offsets{at(0): 0, at(1): 2})
			s.write(0, 0, 2)
			s.flush(consumers.Offsets{at(0): 2, at(1): 2})
			s.want(pos(0, 0, 2), pos(1, 0, 2))
		}},
		{"a partition that stays keeps what was written", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0})
			s.write(0, 0, 2)
			s.assign(consumers.Offsets{at(0): 2, at(1): 0})
			s.write(1, 0, 1)
			s.flush(consumers.Offsets{at(0): 2, at(1): 1})
			s.want(pos(0, 0, 2), pos(1, 0, 1))
		}},
		{"a partition that is gone takes along what was not flushed", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0, at(1): 0})
			s.write(0, 0, 2)
			s.write(1, 0, 2)
			s.assign(consumers.Offsets{at(1): 2})
			s.flush(consumers.Offsets{at(1): 2})
			s.want(pos(1, 0, 2))
			s.assign(consumers.Offsets{at(0): 0, at(1): 2})
			s.write(0, 0, 3)
			s.flush(consumers.Offsets{at(0): 3})
			s.want(pos(0, 0, 3), pos(1, 0, 2))
		}},
		{"a flush without events is no error", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0})
			s.flush(consumers.Offsets{at(0): 10})
			s.flush(consumers.Offsets{})
			s.want()
		}},
		{"offsets may have gaps", func(s *suite) {
			s.assign(consumers.Offsets{at(0): 0})
			s.write(0, 3, 5)
			s.write(0, 9, 10)
			s.flush(consumers.Offsets{at(0): 20})
			s.reopen(false)
			s.assign(consumers.Offsets{at(0): 20})
			s.want(pos(0, 3, 5), pos(0, 9, 10))
		}},
		{"no partitions are fine", func(s *suite) {
			s.assign(consumers.Offsets{})
			s.assign(consumers.Offsets{at(0): 0})
			s.assign(consumers.Offsets{})
			s.want()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := harness(t)
			s := &suite{t: t, h: h, sink: h.Open()}
			defer func() { h.Close(s.sink, false) }()
			c.test(s)
		})
	}
}

type suite struct {
	t    *testing.T
	h    Harness
	sink consumers.Sink
}

func at(p int32) consumers.TopicPartition {
	return consumers.TopicPartition{Topic: topic, Partition: p}
}

// pos names the positions of a partition from one offset to before another.
func pos(p int32, from, to int64) (all []string) {
	for o := from; o < to; o++ {
		all = append(all, schemas.Position{Topic: topic, Partition: p, Offset: o}.String())
	}
	return all
}

// Event returns a valid event at a position, as a group would pass it.
func Event(p schemas.Position) schemas.Event {
	at := time.Date(2026, 1, 1, 0, 0, 0, int(p.Offset), time.UTC)
	id := fmt.Sprintf("evt_%d_%d", p.Partition, p.Offset)
	return schemas.Event{
		ID: schemas.EventID(id), Source: "demo", Type: "payment.succeeded", Time: at, Received: at, Scheme: "standard",
		Method: "POST", Target: "/hooks/demo", Body: []byte(`{"id":"` + id + `"}`), Position: p,
	}
}

func (s *suite) assign(start consumers.Offsets) {
	s.t.Helper()
	got, err := s.sink.Assigned(context.Background(), start)
	if err != nil {
		s.t.Fatalf("Assigned(%v): %v", start, err)
	}
	for tp := range start {
		if _, ok := got[tp]; !ok {
			s.t.Fatalf("Assigned(%v) returned %v, want each partition in it", start, got)
		}
	}
}

func (s *suite) write(p int32, from, to int64) {
	s.t.Helper()
	var events []schemas.Event
	for o := from; o < to; o++ {
		events = append(events, Event(schemas.Position{Topic: topic, Partition: p, Offset: o}))
	}
	if err := s.sink.Write(context.Background(), events); err != nil {
		s.t.Fatalf("Write %d/%d to %d: %v", p, from, to, err)
	}
}

func (s *suite) flush(upTo consumers.Offsets) {
	s.t.Helper()
	if err := s.sink.Flush(context.Background(), upTo); err != nil {
		s.t.Fatalf("Flush(%v): %v", upTo, err)
	}
}

func (s *suite) reopen(crash bool) {
	s.h.Close(s.sink, crash)
	s.sink = s.h.Open()
}

func (s *suite) want(positions ...[]string) {
	s.t.Helper()
	var got []string
	for _, p := range s.h.Read() {
		got = append(got, p.String())
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(slices.Concat(positions...)))
	if !slices.Equal(got, want) {
		s.t.Errorf("a reader sees %q, want %q", got, want)
	}
}
