package relay_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay"
)

// produceKey is that of a produce request.
const produceKey = int16(kmsg.Produce)

// holdProduce keeps the broker from looking at produce requests until the
// function is called.
func holdProduce(k *kfake.Cluster) (open func()) {
	held := make(chan struct{})
	k.ControlKey(produceKey, func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case <-held:
			k.DropControl()
		default:
			k.KeepControl()
			k.SleepControl(func() { <-held })
		}
		return nil, nil, false
	})
	return sync.OnceFunc(func() { close(held) })
}

// nth tells the nth request from the others, of which each is asked about
// several times.
func nth(n int) func(kmsg.Request) bool {
	seen := 0
	var last kmsg.Request
	return func(req kmsg.Request) bool {
		if req != last {
			seen++
			last = req
		}
		return seen == n
	}
}

// network is what lies between a relay and the brokers.
type network struct {
	swallow atomic.Int64 // so many answers to produce requests are lost, with their connection

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

// dial is for kgo.Dialer.
func (n *network) dial(ctx context.Context, proto, host string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, proto, host)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		_ = c.Close()
		return nil, errors.New("the network is down")
	}
	if n.conns == nil {
		n.conns = make(map[net.Conn]struct{})
	}
	n.conns[c] = struct{}{}
	return &networkConn{Conn: c, of: n}, nil
}

func (n *network) set(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for c := range n.conns {
		if down {
			_ = c.Close()
		}
	}
	clear(n.conns)
}

type networkConn struct {
	net.Conn
	of       *network
	produces atomic.Bool
}

func (c *networkConn) Write(b []byte) (int, error) {
	if len(b) >= 6 && int16(binary.BigEndian.Uint16(b[4:])) == produceKey {
		c.produces.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *networkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.produces.Load() && c.of.swallow.Load() > 0 && c.of.swallow.Add(-1) >= 0 {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// through makes a relay reach its brokers through the network, and its topic
// have one partition, so that every record is a barrier for those before it.
func (n *network) through(o *relay.Options) {
	o.Client = append(o.Client, kgo.Dialer(n.dial))
	o.Topics.Partitions = 1
	o.Sources[0].Deadline = time.Second
}

// trouble makes a broker fail. Each method says how often it has.
type trouble struct {
	*kfake.Cluster
	*network
}

// answers are errors instead of the answers to the next produce requests; some
// of them come after the append, see kfake.Fault.
func (b trouble) answers(err *kerr.Error, n int) func() int {
	return b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: n}).Hits
}

// appends the next request and loses the answer; the second try gets the error.
func (b trouble) appends(err *kerr.Error) func() int {
	b.swallow.Store(1)
	return b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, When: nth(2)}).Hits
}

// loses the answers to the next produce requests.
func (b trouble) loses(n int64) func() int {
	b.swallow.Store(n)
	return func() int { return int(n - b.swallow.Load()) }
}

// hangsUp instead of looking at the next produce request.
func (b trouble) hangsUp() func() int {
	var hits atomic.Int64
	b.ControlKey(produceKey, func(kmsg.Request) (kmsg.Response, error, bool) {
		hits.Add(1)
		return nil, errors.New("hang up"), true
	})
	return func() int { return int(hits.Load()) }
}

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

// promises are the places that 2xx answers named, by event.
type promises struct {
	mu     sync.Mutex
	places map[string]string
}

// try sends an event once and reports whether it need not be sent again. All it
// may get besides a 2xx is a 503 that says when to come again, before the
// deadline or a little later.
func (p *promises) try(t testing.TB, r *testRelay, id string) bool {
	t.Helper()
	began := time.Now()
	a, err := r.try(request(t, demoSource(t), id, bodyOf(1)))
	switch d := time.Since(began); {
	case err != nil:
		t.Errorf("%s: %v", id, err)
	case a.status == 200:
		p.mu.Lock()
		defer p.mu.Unlock()
		if first, again := p.places[id]; again && first != a.place(t) {
			t.Errorf("%s: %v, it was at %s", id, a, first)
		}
		p.places[id] = a.place(t)
	case a.status != 503 || a.header.Get("Retry-After") == "":
		t.Errorf("%s: %v, want 200, or 503 with Retry-After", id, a)
	case d > 4*time.Second:
		t.Errorf("%s: answered after %v, the deadline is 1 s", id, d)
	default:
		return false
	}
	return true
}

// insist sends an event until it gets a 2xx, as a sender does.
func (p *promises) insist(t testing.TB, r *testRelay, id string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !p.try(t, r, id); {
		if time.Now().After(deadline) {
			t.Errorf("%s: no 2xx within 30 s", id)
			return
		}
		<-time.After(10 * time.Millisecond)
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
