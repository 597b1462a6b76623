package main_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
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
	// ends is where each partition's log ended then, before the next relay
	// began. Without an entry it is not known.
	ends map[int32]int64
}

// result is what reconcile found.
type result struct {
	records, missing, wrong int
	// doubled events are in the topic more than once and must not be. The
	// copies of residue may: what a killed relay had on its way was appended
	// after its death, and the sender tried again.
	doubled, residue int

	places map[string][]place // of each event that is in the topic
}

// has reports whether the topic has the event there.
func (res *result) has(id string, p place) bool { return slices.Contains(res.places[id], p) }

// reconcile reads the topic with a client of its own and holds it against what
// was acknowledged: every acknowledged event is there once, at the position it
// was acknowledged with, byte for byte; no event is there twice, but for what
// deaths explain.
func (s *sender) reconcile(t *testing.T, brokers, topic string, deaths ...death) *result {
	t.Helper()
	res := &result{places: make(map[string][]place)}
	copies := make(map[string][]*kgo.Record)
	for _, r := range readAll(t, brokers, topic) {
		res.records++
		id := string(r.Key)
		copies[id] = append(copies[id], r)
		res.places[id] = append(res.places[id], place{r.Partition, r.Offset})
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
		if causes, ok := ev.explains(records, deaths); ok {
			res.residue += len(causes)
			for _, n := range causes {
				residue[n]++
				end, known := deaths[n].ends[records[0].Partition]
				t.Logf("event %s is left by a killed relay: %s; it died %s with the event begun %s, when the log ended at %d (known: %v)",
					id, describe(records), clock(deaths[n].at), clock(ev.begun), end, known)
			}
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
		switch {
		case res.has(id, ev.place), ev.spooled && len(copies[id]) > 0:
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
		if got > most {
			t.Errorf("death %d: %d copies came after it, of at most %d events in flight", n, got, most)
		} else if got > 0 {
			t.Logf("death %d: %d copies came after it, of at most %d events in flight", n, got, most)
		}
	}
	t.Logf("%d attempts: %d accepted, %d duplicates, %d spooled, %d failed; %d events acknowledged, %d records; missing %d, doubled %d, wrong %d; left by the killed %d",
		s.attempts.Load(), s.accepted.Load(), s.duplicates.Load(), s.spooled.Load(), s.failures.Load(), len(s.order), res.records, res.missing, res.doubled, res.wrong, res.residue)
	return res
}

// explains returns the deaths that explain why an event has several records,
// and whether they do. Receive times tell which relay wrote which. But for the
// youngest, each writer must have died with the event in its hands, and its
// record must not have been in the log when the next relay began.
func (ev *sent) explains(records []*kgo.Record, deaths []death) (causes []int, ok bool) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b *kgo.Record) int { return received(a).Compare(received(b)) })
	for i, old := range records[:len(records)-1] {
		n := slices.IndexFunc(deaths, func(d death) bool {
			next := received(records[i+1])
			// A record that the next relay drained from the spool has the old one's time.
			return !received(old).Before(d.born) && received(old).Before(d.at) && (next.After(d.at) || ev.spooled && next.Equal(received(old)))
		})
		if n < 0 || !ev.waited(deaths[n].at) {
			return nil, false
		}
		if end, known := deaths[n].ends[old.Partition]; known && old.Offset < end {
			return nil, false
		}
		causes = append(causes, n)
	}
	return causes, true
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
// must be a duplicate at the event's position. Of very many it draws some.
func (s *sender) known(t *testing.T, url string, res *result) {
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
				if err != nil || r.outcome != "duplicate" || !res.has(id, r.place) {
					t.Errorf("event %s once more: got %+v, %v; want duplicate at %v", id, r, err, res.places[id])
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

// logEnds asks where the leaders' logs end: beyond what can be read, if
// replicas lack some of it. What is not known soon is left out.
func logEnds(adm *kadm.Client, topic string) map[int32]int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	readable, _ := adm.ListEndOffsets(ctx, topic)
	var ask kadm.OffsetForLeaderEpochRequest
	readable.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			ask.Add(o.Topic, o.Partition, o.LeaderEpoch)
		}
	})
	out := make(map[int32]int64)
	ends, _ := adm.OffsetForLeaderEpoch(ctx, ask)
	for partition, end := range ends[topic] {
		if end.Err == nil {
			out[partition] = end.EndOffset
		}
	}
	return out
}
