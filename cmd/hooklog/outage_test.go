package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hooklog/cmd/internal/demo"
)

// TestOutage takes Apache Kafka away under load, by killing it and as a black
// hole that keeps its connections, from a source that spools and from one that
// rejects; the relay is killed meanwhile, too. When it is back everything that
// was acknowledged is in the topic once, without anybody's help.
func TestOutage(t *testing.T) {
	c, k := ownNodes(t, 1)
	for _, how := range []string{"kill", "pause"} {
		for _, policy := range []string{"spool", "reject"} {
			for _, killed := range []bool{false, true} {
				if soakUntil(t).IsZero() && killed != (how == "kill") {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/relay killed %v", how, policy, killed), func(t *testing.T) {
					outage{cluster: c, relay: newRelay(t, k), how: how, policy: policy, killed: killed}.run(t)
				})
			}
		}
	}
}

type outage struct {
	cluster *nodes
	relay   *relay
	how     string // "kill" or "pause"
	policy  string // "spool" or "reject"
	killed  bool   // the relay is, in the middle of it
}

func (o outage) run(t *testing.T) {
	r := o.relay
	text := strings.Replace(relayConfig(r.listen, r.admin, r.dir+"/data", r.kafka, r.topic),
		"secrets: ["+demo.Secret+"]", "secrets: ["+demo.Secret+"], deadline: 1s, outage: "+o.policy, 1)
	writeFile(t, r.dir, "hooklog.yaml", text)
	r.start(t)
	r.p.ready(t, r.admin)
	stop := r.load(t, 32)
	r.acceptSome(t, 1000)
	resume := stall{cluster: o.cluster, node: 1, how: o.how}.fault(t)
	o.endure(t, 500)
	if o.killed {
		r.kill(t)
		r.start(t)
		if o.policy == "spool" { // It needs no brokers to take events.
			r.p.ready(t, r.admin)
		}
		o.endure(t, 200)
	}
	resume()
	back := time.Now()
	r.acceptSome(t, 1)
	recovered := time.Since(back)
	r.acceptSome(t, 1000)
	stop()
	r.metric(t, "hooklog_spool_events", func(n float64) bool { return n == 0 })
	drained := time.Since(back)
	var memory float64
	r.metric(t, "process_resident_memory_bytes", func(n float64) bool { memory = n; return true })
	if recovered > 10*time.Second {
		t.Errorf("the first event was accepted %v after Kafka was back, want at most 10 s", recovered)
	}
	s := r.sender
	t.Logf("%d requests: %d accepted, %d duplicates, %d spooled, %d without a 2xx; accepts again after %v, spool empty after %v, %.0f MiB resident",
		s.attempts.Load(), s.accepted.Load(), s.duplicates.Load(), s.spooled.Load(), s.failures.Load(),
		recovered.Round(10*time.Millisecond), drained.Round(10*time.Millisecond), memory/(1<<20))
	if spools := o.policy == "spool"; spools != (s.spooled.Load() > 0) {
		t.Errorf("%d events were spooled by a source that says %s", s.spooled.Load(), o.policy)
	}
	r.check(t)
}

// endure goes on in the outage until so many requests more have been answered.
func (o outage) endure(t *testing.T, n int64) {
	t.Helper()
	s := o.relay.sender
	from := s.attempts.Load()
	eventually(t, func() error {
		if got := s.attempts.Load() - from; got < n {
			return fmt.Errorf("%d requests in the outage, want %d", got, n)
		}
		return nil
	})
}
