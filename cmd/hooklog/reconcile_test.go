package main_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// death is the end of a relay without a chance to do anything.
type death struct {
	born, at time.Time // it was started, and it was dead
	// ends is what could be read of each partition then, before the next relay
	// began. Without an entry it is not known.
	ends map[int32]int64
}

// result is what reconcile found.
type result struct {
	records, missing, wrong int
	// doubled events are in the topic more than once and must not be. Those of
	// residue may: what a killed relay had handed over was appended, or became
	// readable, after its death, and the sender tried again.
	doubled, residue int
}

// reconcile reads the topic with a client of its own and holds it against what
// was acknowledged: every acknowledged event is there once, at the position it
// was acknowledged with, byte for byte; no event is there twice, but for what
// deaths explain.
func (s *sender) reconcile(t *testing.T, brokers, topic string, deaths ...death) result {
	t.Helper()
	var res result
	copies := make(map[string][]*kgo.Record)
	for _, r := range readAll(t, brokers, topic) {
		res.records++
		id := string(r.Key)
		copies[id] = append(copies[id], r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	residue := make([]int, len(deaths))
	for id, records := range copies {
		ev := s.events[id]
		if ev == nil {
			res.wrong++
			t.Errorf("event %s is in the topic and was never sent", id)
			continue
		}
		for _, r := range records {
			if sha256.Sum256(r.Value) != ev.sum {
				res.wrong++
				t.Errorf("event %s at %d@%d: the record is not the body that was sent", id, r.Partition, r.Offset)
			}
		}
		if len(records) == 1 {
			continue
		}
		if n := ev.explains(records, deaths); n >= 0 {
			res.residue++
			residue[n]++
			continue
		}
		res.doubled++
		t.Errorf("event %s, begun %s and acknowledged %s at %v after %d attempts, is in the topic %d times: %s; relays died %s",
			id, clock(ev.begun), clock(ev.acked), ev.place, ev.attempts, len(records), describe(records), clocks(deaths))
	}
	for id, ev := range s.events {
		if ev.acked.IsZero() {
			continue
		}
		found := false
		for _, r := range copies[id] {
			found = found || place{r.Partition, r.Offset} == ev.place
		}
		switch {
		case found:
		case len(copies[id]) == 0:
			res.missing++
			t.Errorf("event %s was acknowledged at %v and is not in the topic", id, ev.place)
		default:
			res.wrong++
			t.Errorf("event %s was acknowledged at %v and is at %s", id, ev.place, describe(copies[id]))
		}
	}
	for n, got := range residue {
		most := 0
		for _, ev := range s.events {
			if ev.waited(deaths[n].at) {
				most++
			}
		}
		if got > 0 {
			t.Logf("death %d: %d of at most %d events in flight are in the topic twice", n, got, most)
		}
	}
	t.Logf("%d attempts: %d accepted, %d duplicates, %d failed; %d events acknowledged, %d records; missing %d, doubled %d, wrong %d; left by the killed %d",
		s.attempts.Load(), s.accepted.Load(), s.duplicates.Load(), s.failures.Load(), len(s.order), res.records, res.missing, res.doubled, res.wrong, res.residue)
	return res
}

// explains returns the death that explains two records of an event, or -1.
// Their receive times tell which relay wrote which. It must have died with the
// event in its hands, and its record must not have been readable when the next
// one began.
func (ev *sent) explains(records []*kgo.Record, deaths []death) int {
	if len(records) != 2 {
		return -1
	}
	old, young := records[0], records[1]
	if received(young).Before(received(old)) {
		old, young = young, old
	}
	for n, d := range deaths {
		if received(old).Before(d.born) || received(old).After(d.at) || received(young).Before(d.at) || !ev.waited(d.at) {
			continue
		}
		if end, ok := d.ends[old.Partition]; ok && old.Offset < end {
			return -1
		}
		return n
	}
	return -1
}

// received is when a relay received an event.
func received(r *kgo.Record) time.Time {
	for _, h := range r.Headers {
		if h.Key == "ce_receivedtime" {
			at, _ := time.Parse(time.RFC3339Nano, string(h.Value))
			return at
		}
	}
	return time.Time{}
}

func describe(records []*kgo.Record) string {
	var out []string
	for _, r := range records {
		out = append(out, place{r.Partition, r.Offset}.String()+" received "+clock(received(r)))
	}
	return strings.Join(out, ", ")
}

func clock(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Local().Format("15:04:05.000")
}

func clocks(deaths []death) string {
	var out []string
	for _, d := range deaths {
		out = append(out, clock(d.at))
	}
	return strings.Join(out, " ")
}

// known sends what was acknowledged once more, with another body: each answer
// must be a duplicate at the position that is known. Of very many it draws
// some.
func (s *sender) known(t *testing.T, url string) {
	t.Helper()
	s.mu.Lock()
	ids := append([]string(nil), s.order...)
	s.mu.Unlock()
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:min(len(ids), 20_000)]
	next := make(chan string)
	ctx := withTimeout(t, time.Minute)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for id := range next {
				r, err := s.exchange(ctx, url, id, []byte("another body"))
				s.mu.Lock()
				want := s.events[id].place
				s.mu.Unlock()
				if err != nil || r.outcome != "duplicate" || r.place != want {
					t.Errorf("event %s once more: got %+v, %v; want duplicate at %v", id, r, err, want)
				}
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	workers.Wait()
}

// readAll returns every record of a topic.
func readAll(t *testing.T, brokers, topic string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := withTimeout(t, 2*time.Minute)
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var out []*kgo.Record
	for int64(len(out)) < want {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %d of %d records of %s", len(out), want, topic)
		}
		out = append(out, fs.Records()...)
	}
	return out
}

// endsNow asks how far each partition can be read; what is not known soon is
// left out.
func endsNow(adm *kadm.Client, topic string) map[int32]int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	listed, _ := adm.ListEndOffsets(ctx, topic)
	out := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			out[o.Partition] = o.Offset
		}
	})
	return out
}
