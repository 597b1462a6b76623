package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"hooklog/cmd/internal/demo"
)

const copiesOfEach = 16

// copied is one event and what its copies were answered.
type copied struct {
	id      string
	body    []byte
	replies []reply
	errs    []error
}

func newCopies(n int) []*copied {
	g := demo.NewGenerator(rand.Uint64())
	out := make([]*copied, n)
	for i := range out {
		out[i] = &copied{id: fmt.Sprintf("msg_%d_%d", i, rand.Uint64()), body: g.Next().Body}
	}
	return out
}

func copiedEvents() int {
	if testing.Short() {
		return 200
	}
	return 1000
}

// sendCopies sends n copies of one event at the same moment, then those of the
// next; they go to the URLs in turns.
func (s *sender) sendCopies(ctx context.Context, n int, events []*copied, urls ...string) {
	for _, ev := range events {
		ev.replies, ev.errs = make([]reply, n), make([]error, n)
		var copies sync.WaitGroup
		begin := make(chan struct{})
		for n := range n {
			copies.Go(func() {
				<-begin
				ev.replies[n], ev.errs[n] = s.post(ctx, urls[n%len(urls)], ev.id, ev.body)
			})
		}
		close(begin)
		copies.Wait()
	}
}

// outcomes counts the answers of one event. Any that is not a 2xx fails the
// test.
func (ev *copied) outcomes(t *testing.T) (accepted int, places map[place]int) {
	t.Helper()
	places = make(map[place]int)
	for n, r := range ev.replies {
		if err := ev.errs[n]; err != nil {
			t.Errorf("copy %d of %s: got %v, want 200", n, ev.id, err)
			continue
		}
		places[r.place]++
		switch r.outcome {
		case "accepted":
			accepted++
		case "duplicate":
		default:
			t.Errorf("copy %d of %s: got outcome %q, want accepted or duplicate", n, ev.id, r.outcome)
		}
	}
	return accepted, places
}

// TestCopies sends copies of an event at the same moment to one relay: one of
// them is accepted, all are told its position, and the topic has one record.
func TestCopies(t *testing.T) {
	kafkas(t, func(t *testing.T, k cluster) {
		r := newRelay(t, k)
		r.start(t)
		r.p.ready(t, r.admin)
		events := newCopies(copiedEvents())
		r.sender.sendCopies(t.Context(), copiesOfEach, events, r.sender.url)
		for _, ev := range events {
			if accepted, places := ev.outcomes(t); accepted != 1 || len(places) != 1 {
				t.Errorf("%d copies of %s: %d accepted at %v, want 1 at one position", copiesOfEach, ev.id, accepted, places)
			}
		}
		if res := r.sender.reconcile(t, k.brokers, r.topic); res.records != len(events) {
			t.Errorf("the topic has %d records of %d events in %d copies each, want one of each", res.records, len(events), copiesOfEach)
		}
	})
}

// TestCopiesTwoRelays sends half of the copies to another relay of the same
// topic. Both may let one through, if it reaches them before either has read
// what the other wrote; later copies are known to both.
func TestCopiesTwoRelays(t *testing.T) {
	kafkas(t, func(t *testing.T, k cluster) {
		one := newRelay(t, k)
		one.start(t)
		one.p.ready(t, one.admin)
		other := one.beside(t)
		s, urls := one.sender, []string{one.sender.url, other.sender.url}

		events := newCopies(copiedEvents())
		s.sendCopies(t.Context(), copiesOfEach, events, urls...)
		records := make(map[string]map[place]bool)
		all := readAll(t, k.brokers, one.topic)
		for _, rec := range all {
			id := string(rec.Key)
			if records[id] == nil {
				records[id] = make(map[place]bool)
			}
			records[id][place{rec.Partition, rec.Offset}] = true
		}
		for _, ev := range events {
			accepted, places := ev.outcomes(t)
			if accepted != len(records[ev.id]) || accepted > len(urls) {
				t.Errorf("copies of %s: %d accepted, the topic has %d; want as many, and at most one of each relay", ev.id, accepted, len(records[ev.id]))
			}
			for p := range places {
				if !records[ev.id][p] {
					t.Errorf("copies of %s were answered with %v, the topic has it at %v", ev.id, p, records[ev.id])
				}
			}
		}
		t.Logf("%d events, %d copies each, to two relays at the same moment: %d records, %d more than events", len(events), copiesOfEach, len(all), len(all)-len(events))

		// What only one of them was sent is known to the other, too.
		alone := newCopies(copiedEvents())
		s.sendCopies(t.Context(), 1, alone, urls[0])
		one.knows(t, len(events)+len(alone))
		other.knows(t, len(events)+len(alone))
		want := len(all) + len(alone)
		events = append(events, alone...)
		s.sendCopies(t.Context(), len(urls), events, urls...)
		apart := 0
		for _, ev := range events {
			accepted, places := ev.outcomes(t)
			if accepted != 0 {
				t.Errorf("copies of %s, once more: %d accepted, want all of them duplicates", ev.id, accepted)
			}
			if len(places) != 1 {
				apart++
			}
		}
		if got := len(readAll(t, k.brokers, one.topic)); got != want {
			t.Errorf("the topic has %d records after all copies were sent once more, want still %d", got, want)
		}
		t.Logf("of %d doubled events each relay answers with its own position for %d", len(all)-len(events)+len(alone), apart)
	})
}

// beside starts another relay of the same topic.
func (r *relay) beside(t *testing.T) *relay {
	t.Helper()
	k := r.kafka
	if k.embedded {
		k = apache(k.brokers) // For who comes second it is a Kafka like any other.
	}
	other := newRelay(t, k)
	other.topic = r.topic
	writeFile(t, other.dir, "hooklog.yaml", relayConfig(other.listen, other.admin, other.dir+"/data", k, r.topic))
	other.start(t)
	other.p.ready(t, other.admin)
	return other
}

// knows waits until the relay's index has n events.
func (r *relay) knows(t *testing.T, n int) {
	t.Helper()
	r.metric(t, "hooklog_index_ids", func(got float64) bool { return int(got) == n })
}
