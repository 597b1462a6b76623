package relay_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay"
)

// TestBrokerFaults: whatever a broker answers, or does not, each event that got
// a 2xx is in the topic once, and in the end nothing is in doubt.
func TestBrokerFaults(t *testing.T) {
	for name, inject := range map[string]func(b trouble) func() int{
		"REQUEST_TIMED_OUT after append":   func(b trouble) func() int { return b.answers(kerr.RequestTimedOut, 3) },
		"NOT_ENOUGH_REPLICAS_AFTER_APPEND": func(b trouble) func() int { return b.answers(kerr.NotEnoughReplicasAfterAppend, 3) },
		"NOT_ENOUGH_REPLICAS":              func(b trouble) func() int { return b.answers(kerr.NotEnoughReplicas, 3) },
		"NOT_LEADER":                       func(b trouble) func() int { return b.answers(kerr.NotLeaderForPartition, 3) },
		"UNKNOWN_TOPIC_OR_PARTITION":       func(b trouble) func() int { return b.answers(kerr.UnknownTopicOrPartition, 3) },
		"TOPIC_AUTHORIZATION_FAILED":       func(b trouble) func() int { return b.answers(kerr.TopicAuthorizationFailed, 1) },
		"MESSAGE_TOO_LARGE":                func(b trouble) func() int { return b.answers(kerr.MessageTooLarge, 1) },
		"INVALID_RECORD":                   func(b trouble) func() int { return b.answers(kerr.InvalidRecord, 1) },
		"UNKNOWN_SERVER_ERROR":             func(b trouble) func() int { return b.answers(kerr.UnknownServerError, 1) },
		"OUT_OF_ORDER_SEQUENCE":            func(b trouble) func() int { return b.answers(kerr.OutOfOrderSequenceNumber, 1) },
		"UNKNOWN_PRODUCER_ID":              func(b trouble) func() int { return b.answers(kerr.UnknownProducerID, 1) },
		"INVALID_PRODUCER_EPOCH":           func(b trouble) func() int { return b.answers(kerr.InvalidProducerEpoch, 1) },
		"INVALID_PRODUCER_ID_MAPPING":      func(b trouble) func() int { return b.answers(kerr.InvalidProducerIDMapping, 1) },
		"disconnect before append":         func(b trouble) func() int { return b.hangsUp() },
		"disconnect after append":          func(b trouble) func() int { return b.loses(1) },
		"disconnect after append, thrice":  func(b trouble) func() int { return b.loses(3) },
		"append, TOPIC_AUTHORIZATION":      func(b trouble) func() int { return b.appends(kerr.TopicAuthorizationFailed) },
		"append, MESSAGE_TOO_LARGE":        func(b trouble) func() int { return b.appends(kerr.MessageTooLarge) },
		"append, OUT_OF_ORDER_SEQUENCE":    func(b trouble) func() int { return b.appends(kerr.OutOfOrderSequenceNumber) },
		"append, UNKNOWN_PRODUCER_ID":      func(b trouble) func() int { return b.appends(kerr.UnknownProducerID) },
		"append, INVALID_PRODUCER_EPOCH":   func(b trouble) func() int { return b.appends(kerr.InvalidProducerEpoch) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKafka(t)
			var n network
			r := start(t, k, n.through)
			p := &promises{places: make(map[string]string)}
			p.insist(t, r, "msg_before")
			hits := inject(trouble{k, &n})
			p.try(t, r, "msg_hit")
			var all sync.WaitGroup
			all.Go(func() { p.insist(t, r, "msg_hit") })
			for i := range 4 {
				all.Go(func() {
					for j := range 10 {
						p.insist(t, r, fmt.Sprintf("msg_%d_%d", i, j))
					}
				})
			}
			all.Wait()
			r.checkSettled(t)
			if hits() == 0 {
				t.Error("the fault did not hit")
			}
			if len(p.places) != 42 {
				t.Errorf("%d events got a 2xx, want 42", len(p.places))
			}
			checkTopic(t, k, p.places)
			checkDuplicates(t, k, r, p.places)
		})
	}
}

// TestNoProducerID: a client that was refused a producer ID never asks for
// another, so it is replaced, though not with every record.
func TestNoProducerID(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.ClusterAuthorizationFailed, kerr.UnknownServerError} {
		t.Run(refusal.Message, func(t *testing.T) {
			t.Parallel()
			k := startKafka(t)
			var n network
			fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: refusal, Count: -1})
			r := start(t, k, n.through)
			p := &promises{places: make(map[string]string)}
			for i := range 5 {
				if p.try(t, r, fmt.Sprint("msg_", i)) {
					t.Error("an event was accepted")
				}
			}
			if hits := fault.Hits(); hits > 30 {
				t.Errorf("%d producer IDs were asked for in about 5 s", hits)
			}
			fault.Remove()
			for i := range 5 {
				p.insist(t, r, fmt.Sprint("msg_", i))
			}
			r.checkSettled(t)
			checkTopic(t, k, p.places)
			checkDuplicates(t, k, r, p.places)
		})
	}
}

// TestDoubtOnIdlePartition: no later record proves that one is absent, so the
// log is read to its end after a while. One that is there is found at once.
func TestDoubtOnIdlePartition(t *testing.T) {
	for name, c := range map[string]struct {
		inject func(b trouble) func() int
		first  bool
	}{
		"absent":   {func(b trouble) func() int { return b.answers(kerr.TopicAuthorizationFailed, 1) }, false},
		"appended": {func(b trouble) func() int { return b.appends(kerr.TopicAuthorizationFailed) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKafka(t)
			var n network
			r := start(t, k, func(o *relay.Options) {
				n.through(o)
				o.Topics.Partitions = 2
			})
			hits := c.inject(trouble{k, &n})
			p := &promises{places: make(map[string]string)}
			if got := p.try(t, r, "msg_1"); got != c.first || hits() != 1 {
				t.Errorf("got a 2xx: %v, faults: %d, want %v and one", got, hits(), c.first)
			}
			p.insist(t, r, "msg_1")
			r.checkSettled(t)
			checkTopic(t, k, p.places)
			checkDuplicates(t, k, r, p.places)
		})
	}
}

// TestDoubtOnBusyPartition: a later record that is acknowledged proves at once
// that one is absent.
func TestDoubtOnBusyPartition(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := start(t, k, n.through)
	trouble{k, &n}.answers(kerr.TopicAuthorizationFailed, 1)
	p := &promises{places: make(map[string]string)}
	if p.try(t, r, "msg_1") {
		t.Fatal("the fault did not hit")
	}
	began := time.Now()
	p.insist(t, r, "msg_2")
	p.insist(t, r, "msg_1")
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("in doubt for %v after a later record, as on an idle partition", d)
	}
	r.checkSettled(t)
	checkTopic(t, k, p.places)
}

// TestDoubtWaitsForTheLog: while the log cannot be read, no record proves
// anything: not one before, not one after. The claim stays until it can, and
// the record that was there all the time is found.
func TestDoubtWaitsForTheLog(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := start(t, k, n.through)
	p := &promises{places: make(map[string]string)}
	p.insist(t, r, "msg_before")
	r.checkSettled(t)
	unreadable := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.LeaderNotAvailable, Count: -1})
	eventually(t, func() error {
		if unreadable.Hits() == 0 {
			return errors.New("the log can still be read")
		}
		return nil
	})
	trouble{k, &n}.appends(kerr.TopicAuthorizationFailed)
	inDoubt := func(when string) {
		t.Helper()
		if p.try(t, r, "msg_1") {
			t.Errorf("%s: it got a 2xx", when)
		}
		if st := r.Status(); st.Claims != 1 || st.InDoubt != 1 {
			t.Errorf("%s: %d claims, %d in doubt, want one that is", when, st.Claims, st.InDoubt)
		}
	}
	inDoubt("at first")
	inDoubt("a second later")
	p.insist(t, r, "msg_after")
	inDoubt("after a later record")
	unreadable.Remove()
	p.insist(t, r, "msg_1")
	r.checkSettled(t)
	checkTopic(t, k, p.places)
	checkDuplicates(t, k, r, p.places)
}
