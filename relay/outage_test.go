package relay_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hooklog/relay"
)

// TestLateAcknowledgement: the broker answers after the sender was told 503.
// The claim stays, the sender's retry shares it or is a duplicate of the record
// that came late.
func TestLateAcknowledgement(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := start(t, k, n.through)
	src := demoSource(t)
	open := holdProduce(k)
	for try := range 2 {
		began := time.Now()
		a := r.post(t, src, "msg_1", bodyOf(1))
		if d := time.Since(began); a.status != 503 || a.code(t) != "log_unavailable" || a.header.Get("Retry-After") == "" || d < time.Second || d > 4*time.Second {
			t.Errorf("try %d: %v after %v, want 503 log_unavailable with Retry-After after 1 s", try, a, d)
		}
		if st := r.Status(); st.Claims != 1 || st.InDoubt != 0 {
			t.Errorf("try %d: %d claims, %d in doubt, want one and none", try, st.Claims, st.InDoubt)
		}
	}
	waiting := make(chan response, 1)
	raw := request(t, src, "msg_1", bodyOf(1))
	joined := r.counts(t, "hooklog_index_claims_total")[labels{"", "joined"}]
	go func() {
		a, err := r.try(raw)
		if err != nil {
			t.Errorf("the third try: %v", err)
		}
		waiting <- a
	}()
	eventually(t, func() error {
		if n := r.counts(t, "hooklog_index_claims_total")[labels{"", "joined"}]; n != joined+1 {
			return fmt.Errorf("%v joined, want %v", n, joined+1)
		}
		return nil
	})
	open()
	a := <-waiting
	if a.status != 200 || a.code(t) != "duplicate" {
		t.Errorf("the try that joined: %v, want 200 duplicate", a)
	}
	checkDuplicates(t, k, r, map[string]string{"msg_1": a.place(t)})
}

// TestStalledLog: once nothing was acknowledged for a deadline, requests are
// refused at once but for one a second that finds out; copies of known events
// are answered all the time.
func TestStalledLog(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := start(t, k, n.through)
	src := demoSource(t)
	p := &promises{places: make(map[string]string)}
	p.insist(t, r, "msg_known")
	open := holdProduce(k)
	if a := r.post(t, src, "msg_first", bodyOf(1)); a.status != 503 {
		t.Fatalf("the first: %v", a)
	}
	if ok, reason := r.Ready(); ok || reason == "" {
		t.Errorf("Ready = %v, %q while the log does not acknowledge", ok, reason)
	}
	var slow, quick, events atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for began := time.Now(); time.Since(began) < 5*time.Second; {
				sent := time.Now()
				if p.try(t, r, fmt.Sprint("msg_", events.Add(1))) {
					t.Error("an event was accepted")
					return
				}
				if time.Since(sent) < 500*time.Millisecond {
					quick.Add(1)
				} else {
					slow.Add(1)
				}
				<-time.After(10 * time.Millisecond)
			}
		})
	}
	senders.Wait()
	if s, q := slow.Load(), quick.Load(); s < 2 || s > 7 || q < 50 {
		t.Errorf("in 5 s %d were tried and %d refused at once, want one a second, and all others", s, q)
	}
	if a := r.post(t, src, "msg_known", bodyOf(1)); a.status != 200 || a.code(t) != "duplicate" {
		t.Errorf("a known event: %v, want 200 duplicate", a)
	}
	open()
	for i := range min(events.Load(), 100) {
		p.insist(t, r, fmt.Sprint("msg_", i+1))
	}
	r.awaitReady(t)
	r.checkSettled(t)
	checkTopic(t, k, p.places)
}

// TestFullBuffer: what the producer cannot hold is refused at once, and its
// claim released.
func TestFullBuffer(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := start(t, k, func(o *relay.Options) {
		n.through(o)
		o.Limits.InFlight = 1 // the producer holds two records
	})
	src := demoSource(t)
	open := holdProduce(k)
	overloaded := ""
	eventually(t, func() error {
		id := fmt.Sprint("msg_", r.sent.Load())
		a := r.post(t, src, id, "{}")
		if a.status != 503 {
			t.Fatalf("%v, want 503", a)
		}
		if a.code(t) != "overloaded" {
			return errors.New("the buffer is not full yet")
		}
		overloaded = id
		return nil
	})
	if st := r.Status(); st.Claims != 2 {
		t.Errorf("%d claims while the producer holds two records", st.Claims)
	}
	open()
	p := &promises{places: make(map[string]string)}
	p.insist(t, r, overloaded)
	r.checkSettled(t)
	checkTopic(t, k, p.places)
	if n := len(readTopic(t, k, topicName)); n != 3 {
		t.Errorf("the topic has %d records, want the two and the one that was refused first", n)
	}
}

// TestBrokersDown: without brokers there is an answer, before the first record
// and later, and no need of a restart.
func TestBrokersDown(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	n.set(true)
	r := startUnready(t, k, n.through)
	src := demoSource(t)
	for range 3 {
		if a := r.post(t, src, "msg_1", bodyOf(1)); a.status != 503 || a.code(t) != "not_ready" {
			t.Errorf("while starting: %v, want 503 not_ready", a)
		}
	}
	if ok, reason := r.Ready(); ok || reason == "" {
		t.Errorf("Ready = %v, %q without brokers", ok, reason)
	}
	n.set(false)
	r.awaitReady(t)
	p := &promises{places: make(map[string]string)}
	for round := range 2 {
		p.insist(t, r, fmt.Sprint("msg_up_", round))
		n.set(true)
		var all sync.WaitGroup
		for i := range 4 {
			raw := request(t, src, fmt.Sprintf("msg_down_%d_%d", round, i), bodyOf(1))
			all.Go(func() {
				if a, err := r.try(raw); err != nil || a.status != 503 || a.code(t) != "log_unavailable" {
					t.Errorf("without brokers: %v, %v, want 503 log_unavailable", a, err)
				}
			})
		}
		all.Wait()
		eventually(t, func() error {
			if ok, _ := r.Ready(); ok {
				return errors.New("ready without brokers")
			}
			return nil
		})
		n.set(false)
		for i := range 4 {
			p.insist(t, r, fmt.Sprintf("msg_down_%d_%d", round, i))
		}
		r.awaitReady(t)
	}
	r.checkSettled(t)
	checkTopic(t, k, p.places)
}
