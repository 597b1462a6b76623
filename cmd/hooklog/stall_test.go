package main_test

import (
	"sync"
	"testing"
	"time"
)

// TestStalledBroker measures what a killed relay leaves on its way to a broker
// that is stalled: it takes events, none is acknowledged, it is killed, the
// next one is started before or after the broker goes on, and the senders try
// again at once. What is in the topic twice is at most what was in flight at
// the kill; nothing is missing.
func TestStalledBroker(t *testing.T) {
	c, k := ownNodes(t, 1)
	r := newRelay(t, k)
	stall{cluster: c, relay: r, node: 1, how: "pause", events: 128}.rounds(t)
}

// TestMissingReplica kills one of three nodes that only follows: the leaders go
// on appending, and nothing of it becomes readable or is acknowledged until the
// third is back or is given up. The next relay must find what is there; what
// waits behind it in the dead one's connections is the residue.
func TestMissingReplica(t *testing.T) {
	c, k := ownNodes(t, 3)
	r := newRelay(t, k)
	c.createTopic(t, r.topic, [][]int32{{1, 2, 3}, {2, 1, 3}, {1, 2, 3}, {2, 1, 3}})
	stall{cluster: c, relay: r, node: 3, how: "kill", events: 128}.rounds(t)
}

type stall struct {
	cluster *nodes
	relay   *relay
	node    int
	how     string // "pause", or "kill" for one that is then seen to be gone
	events  int    // in flight
}

// rounds stalls the node again and again and checks all of it in the end.
func (s stall) rounds(t *testing.T) {
	until := soakUntil(t)
	rounds := 4
	if s.how == "kill" {
		rounds = 2 // It takes its time to come back.
	}
	if testing.Short() {
		rounds = 1
	}
	for n := 0; n < rounds || time.Now().Before(until); n++ {
		s.round(t, n)
		if t.Failed() {
			return
		}
	}
	s.relay.start(t)
	s.relay.p.ready(t, s.relay.admin)
	s.relay.check(t)
}

func (s stall) round(t *testing.T, n int) {
	t.Helper()
	r := s.relay
	r.start(t)
	r.p.ready(t, r.admin)
	if err := s.cluster.inSync(r.topic); err != nil {
		t.Fatal(err)
	}
	r.sender.size.Store(0)
	if n%4 >= 2 {
		r.sender.size.Store(100 << 10) // more than the sockets take
	}
	wait := r.load(t, s.events)
	r.acceptSome(t, int64(2*s.events))
	resume := s.fault(t)
	// Until most are there, and a moment more; at times so long that the
	// senders were told 503 and come again.
	r.metric(t, "hooklog_index_claims_held", func(held float64) bool { return int(held) >= s.events*3/4 })
	r.soon(time.Duration(1+n%2*9) * 300 * time.Millisecond)
	r.kill(t)
	died := time.Now()
	if n%2 == 0 {
		r.start(t)
		r.soon(2 * time.Second)
		resume()
	} else {
		resume()
		r.start(t)
	}
	wait()
	r.kill(t)
	copies := make(map[string]int)
	for _, rec := range readAll(t, r.kafka.brokers, r.topic) {
		copies[string(rec.Key)]++
	}
	waiting, twice := r.sender.waiting(died), 0
	for _, id := range waiting {
		if copies[id] > 1 {
			twice++
		}
	}
	t.Logf("round %d: of %d events in flight at the kill %d are in the topic twice", n, len(waiting), twice)
}

// fault stalls the node until the returned function is called or the test ends.
func (s stall) fault(t *testing.T) (resume func()) {
	t.Helper()
	if err := s.cluster.do(s.how, s.node); err != nil {
		t.Fatal(err)
	}
	resume = sync.OnceFunc(func() {
		if err := s.cluster.do("resume", s.node); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	return resume
}
