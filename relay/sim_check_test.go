package relay_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/schemas"
)

// check compares the topic with what was promised, and asks the relay for each
// event that is there.
func (h *history) check(t *testing.T, p *process) {
	places := make(map[string][]string)
	bodies := make(map[string]string)
	var events []schemas.Event
	for _, rec := range readTopic(t, h.brokers.Cluster, topicName, kgo.Dialer(h.brokers.network.dial)) {
		e, err := schemas.Decode(rec)
		if err != nil {
			t.Errorf("%s/%d@%d: %v", rec.Topic, rec.Partition, rec.Offset, err)
			continue
		}
		name := eventName(e.Source, e.ID)
		if len(places[name]) == 0 {
			events = append(events, e)
		}
		places[name] = append(places[name], e.Position.String())
		bodies[e.Position.String()] = name + string(e.Body)
		h.count(&e)
	}
	for name, at := range places {
		copies := len(at) - 1
		if copies == 0 {
			continue
		}
		late := h.brokers.late[name]
		h.tally.Late += copies
		if copies > late {
			t.Errorf("event %s is in the topic at %v; %d copies may have come late", name, at, late)
		}
	}
	h.tally.Events += len(places)
	for _, a := range h.answers {
		if a.outcome == "spooled" {
			if at := places[a.event]; len(at) == 0 || bodies[at[0]] != a.event+a.body {
				t.Errorf("event %s was spooled and is at %v, want it in the topic with its body", a.event, at)
			}
			continue
		}
		if bodies[a.place] != a.event+a.body {
			t.Errorf("event %s was %s at %s, where %q is", a.event, a.outcome, a.place, bodies[a.place])
		}
		if at, foreign := h.appended[a.event]; foreign && (a.outcome != "duplicate" || a.place != at) {
			t.Errorf("event %s, which another relay has put at %s, was %s at %s", a.event, at, a.outcome, a.place)
		}
	}
	for i := range events {
		e := &events[i]
		name := eventName(e.Source, e.ID)
		src := h.sources[0]
		if e.Source != src.Name {
			src = h.sources[1]
		}
		a, had, err := p.do(request(t, src, string(e.ID), bodyFor(string(e.ID))), time.Minute)
		if had {
			p.sent.Add(1)
		}
		if err != nil || a.status != 200 || a.code(t) != "duplicate" || !slices.Contains(places[name], a.place(t)) {
			t.Errorf("event %s at the end: %v, %v, want a duplicate at %v", name, a, err, places[name])
		}
	}
}

// count counts a record for the process that has produced it: that which ran
// when the request came.
func (h *history) count(e *schemas.Event) {
	if foreign([]string{eventName(e.Source, e.ID)}) {
		h.tally.Foreign++
		return
	}
	for _, p := range h.processes {
		if !e.Received.Before(p.began) && (p.over.IsZero() || !e.Received.After(p.over)) {
			p.records++
			return
		}
	}
}

// checkBooks compares what each process that was not killed has counted with
// what it was sent and with the topic.
func (h *history) checkBooks(t *testing.T) {
	for _, p := range h.processes {
		select {
		case <-p.killed:
			continue
		default:
		}
		p.checkCounts(t)
		o := p.outcomes(t)
		accepted := int(o["accepted"])
		if p.records < accepted || p.records > accepted+int(o["log_unavailable"])+int(o["spooled"]) {
			t.Errorf("%s has %d records in the topic, its outcomes are %v", p.name, p.records, o)
		}
	}
}
