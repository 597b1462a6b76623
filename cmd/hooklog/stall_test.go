package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// TestStalledBroker measures what a killed relay leaves on its way to a broker
// that is stalled: it takes events, none is acknowledged, it is killed, the
// next one is started, the broker goes on, and the senders try again at once.
// What is in the topic twice is at most what was in flight at the kill; nothing
// is missing.
func TestStalledBroker(t *testing.T) {
	c, k := ownNodes(t, 1)
	r, until := newRelay(t, k), soakUntil(t)
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	resumed := true
	t.Cleanup(func() {
		if !resumed {
			if err := c.do("resume", 1); err != nil {
				t.Error(err)
			}
		}
	})
	pause := func(command string) {
		t.Helper()
		if err := c.do(command, 1); err != nil {
			t.Fatal(err)
		}
		resumed = command == "resume"
	}
	for round := 0; round < 2*rounds || time.Now().Before(until); round++ {
		r.start(t)
		r.p.ready(t, r.admin)
		// Warm connections, as in the middle of things.
		r.sendAll(t, 64, 1<<10)()
		ends := logEnds(kadm.NewClient(r.look), r.topic)
		pause("pause")
		size := 1 << 10
		if round%4 >= 2 {
			size = 100 << 10 // more than the sockets take
		}
		wait := r.sendAll(t, 256, size)
		// Until all of them are there, and a moment more; at times so long that
		// the senders were told 503 and come again.
		r.metric(t, "hooklog_index_claims_held", func(n float64) bool { return n >= 200 })
		r.soon(time.Duration(1+round%2*9) * 300 * time.Millisecond)
		r.p.kill(t)
		died := time.Now()
		r.deaths = append(r.deaths, death{born: r.born, at: died, ends: ends})
		if round%2 == 0 {
			pause("resume")
			r.start(t)
		} else {
			r.start(t)
			r.soon(500 * time.Millisecond)
			pause("resume")
		}
		wait()
		if t.Failed() {
			return
		}
		r.p.kill(t)
		r.deaths = append(r.deaths, death{born: r.born, at: time.Now()})
		twice := 0
		seen := make(map[string]bool)
		for _, rec := range readAll(t, k.brokers, r.topic) {
			if seen[string(rec.Key)] && received(rec).After(died) {
				twice++
			}
			seen[string(rec.Key)] = true
		}
		t.Logf("round %d, bodies of %d bytes: %d events in flight at the kill, %d of them are in the topic twice", round, size, r.sender.waiting(died), twice)
	}
	r.start(t)
	r.p.ready(t, r.admin)
	r.check(t)
}

// sendAll sends n events at the same moment, each until it has a 2xx, which the
// returned function waits for.
func (r *relay) sendAll(t *testing.T, n, size int) (wait func()) {
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	for i := range n {
		body := make([]byte, size)
		for j := range body {
			body[j] = byte(rand.Uint32())
		}
		all.Go(func() { r.sender.deliver(ctx, r.sender.url, fmt.Sprintf("msg_%d_%d", i, rand.Uint64()), body) })
	}
	t.Cleanup(func() { cancel(); all.Wait() })
	return func() {
		t.Helper()
		all.Wait()
		if ctx.Err() != nil {
			t.Errorf("events were refused for a minute\n%s", r.p.stderr.String())
		}
		cancel()
	}
}
