package relay_test

import (
	"context"
	"encoding/binary"
	"errors"
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

	silent atomic.Bool // nothing comes back from who dials

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

// dial is for kgo.Dialer.
func (n *network) dial(ctx context.Context, proto, host string) (net.Conn, error) {
	if n.silent.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
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
	case a.status == 200 && a.code(t) == "spooled":
		return false // It has no place yet.
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
