package relay_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay"
)

// operation is a kind of what a process does to the world outside. Whatever
// else it does nobody can tell, so a process that is killed at any of its
// operations is killed at any of its lines.
type operation uint8

const (
	anything operation = iota
	onDisk
	toBroker
	fromBroker
	produces     // of toBroker
	acknowledged // of fromBroker
	toSender
	fromSender
	operationCount
)

func (o operation) String() string {
	return [...]string{
		"any", "disk", "to broker", "from broker", "produce", "acknowledged", "to sender", "from sender",
	}[o]
}

// moment is when within an operation the process is killed.
type moment uint8

const (
	never moment = iota
	before
	halfway // of a write
	after
)

func (m moment) String() string { return [...]string{"never", "before", "halfway", "after"}[m] }

// kill says how a process ends.
type kill struct {
	at       operation
	nth      int // operation of that kind
	moment   moment
	unsynced int // percent of what was not synced that is left on disk: 100 after a kill, less after a power cut
}

func (k kill) String() string {
	return fmt.Sprintf("%v %q operation %d, %d %% unsynced", k.moment, k.at, k.nth, k.unsynced)
}

// process is one run of a relay. All it does to the world goes through it, so
// that from one operation on nothing does any more. After its death it may ask
// the brokers questions, though: nobody can tell, and while one of the client's
// goroutines waits with a mutex held for its next try at a producer ID, and
// another for the mutex, simulated time would stand still for ever.
type process struct {
	*testRelay
	name    string
	network *simNetwork
	disk    *vfs.MemFS
	address string // where senders find it
	port    net.Listener
	records int // that it has put into the topic
	say     func(format string, args ...any)
	began   time.Time
	over    time.Time // set by whoever ended it

	killed chan struct{} // closed when it was
	cancel context.CancelFunc

	mu     sync.Mutex // guards all below
	dead   bool
	counts [operationCount]int
	doom   *kill
	rng    *rand.Rand
	conns  map[*processConn]struct{}
	left   *vfs.MemFS // what the kill has left on disk
}

// simNetwork is the network between all processes: the brokers' and the
// senders'.
type simNetwork struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	listen func(network, address string) (net.Listener, error)

	// lag is how long each answer of a broker takes. With several brokers it
	// would stop simulated time, see process.
	lag time.Duration

	swallow atomic.Int64 // so many answers to produce requests are lost, with their connection
	delay   atomic.Int64 // each answer to a produce request takes that much longer, in ns
	down    atomic.Bool  // between the relay and the brokers
}

// begin starts a relay. It ends by die or stop.
func begin(t testing.TB, p *process, o relay.Options) {
	t.Helper()
	p.killed = make(chan struct{})
	p.conns = make(map[*processConn]struct{})
	p.testRelay = &testRelay{registry: prometheus.NewRegistry(), ended: make(chan error, 1)}
	p.began = time.Now()
	o.Dir, o.SpoolDir = "index", "spool"
	o.Client = append(o.Client, kgo.Dialer(p.dialBroker))
	o.Registerer = p.registry
	o.Logger = slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{Level: slog.LevelInfo}))
	var err error
	if p.Server, err = relay.New(o); err != nil {
		t.Fatal(err)
	}
	p.OnDisk(processDisk{p.disk, p})
	if p.port, err = p.network.listen("tcp", p.address); err != nil {
		t.Fatal(err)
	}
	p.Serve(processListener{p.port, p})
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go func() { p.ended <- p.Run(ctx) }()
}

// Write takes what the relay logs.
func (p *process) Write(line []byte) (int, error) {
	p.say("%s: %s", p.name, line)
	return len(line), nil
}

// doing counts an operation of these kinds, and says when in it the process
// dies. Those of a dead process do not count.
func (p *process) doing(kinds ...operation) (m moment, dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return never, true
	}
	for _, k := range append(kinds, anything) {
		p.counts[k]++
		if p.doom != nil && p.doom.at == k && p.doom.nth == p.counts[k] {
			m = p.doom.moment
		}
	}
	return m, false
}

// die kills the process: its connections are cut, and it goes on with a disk
// that nobody will see again.
func (p *process) die(why string) {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return
	}
	// Whoever wrote to a connection had done what it did on disk before that;
	// so the connections end first.
	p.dead = true
	conns := maps.Clone(p.conns)
	unsynced := 100
	if p.doom != nil {
		unsynced = p.doom.unsynced
	}
	p.left = p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: p.rng})
	p.over = time.Now()
	p.mu.Unlock()
	p.say("%s: KILLED %s", p.name, why)
	for c := range conns {
		if c.in == fromSender || c.produces.Load() {
			_ = c.Conn.Close()
		}
	}
	_ = p.port.Close()
	p.cancel()
	close(p.killed)
}

// spare makes sure that the process does not die any more; it returns false if
// it has.
func (p *process) spare() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doom = nil
	return !p.dead
}

var errKilled = errors.New("the process was killed")

func (p *process) dialBroker(ctx context.Context, proto, address string) (net.Conn, error) {
	if p.network.down.Load() {
		// As the operating system has it: at other errors the client asks for a
		// producer ID again without a pause.
		return nil, &net.OpError{Op: "dial", Net: proto, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	c, err := p.network.dial(ctx, proto, address)
	if err != nil {
		return nil, err
	}
	return p.wrap(&processConn{Conn: c, of: p, in: fromBroker, out: toBroker})
}

func (p *process) wrap(c *processConn) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead && c.in == fromSender {
		_ = c.Conn.Close()
		return nil, errKilled
	}
	p.conns[c] = struct{}{}
	return c, nil
}

// cut cuts the connections to the brokers.
func (p *process) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if c.out == toBroker {
			_ = c.Conn.Close()
		}
	}
}

// processListener is the relay's port.
type processListener struct {
	net.Listener
	of *process
}

func (l processListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, net.ErrClosed
	}
	wrapped, err := l.of.wrap(&processConn{Conn: c, of: l.of, in: fromSender, out: toSender})
	if err != nil {
		return nil, net.ErrClosed
	}
	return wrapped, nil
}

// processConn is a connection of the process.
type processConn struct {
	net.Conn
	of       *process
	in, out  operation
	produces atomic.Bool // it is one that a client produces through, and through no other
}

func (c *processConn) Write(b []byte) (int, error) {
	kinds, effect := []operation{c.out}, true
	if c.out == toBroker {
		key := kmsg.Metadata
		if len(b) >= 6 {
			key = kmsg.Key(binary.BigEndian.Uint16(b[4:]))
		}
		if effect = key == kmsg.Produce || key == kmsg.CreateTopics; key == kmsg.Produce {
			c.produces.Store(true)
			kinds = append(kinds, produces)
		}
	}
	m, dead := c.of.doing(kinds...)
	why := fmt.Sprintf("%v writing, %v", m, kinds[len(kinds)-1])
	switch {
	case !effect:
		if m != never {
			c.of.die(why)
		}
		return c.Conn.Write(b)
	case dead:
		return 0, errKilled
	case m == before:
		b = nil
	case m == halfway:
		b = b[:len(b)/2]
	}
	n, err := c.Conn.Write(b)
	if m != never {
		c.of.die(why)
		return 0, errKilled
	}
	return n, err
}

func (c *processConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 {
		return n, err
	}
	kinds := []operation{c.in}
	if c.produces.Load() {
		kinds = append(kinds, acknowledged)
	}
	m, dead := c.of.doing(kinds...)
	if m != never {
		c.of.die(fmt.Sprintf("after reading, %v", kinds[len(kinds)-1]))
	}
	if c.in == fromBroker {
		time.Sleep(c.of.network.lag)
	}
	if c.in == fromBroker && !c.produces.Load() {
		return n, err
	}
	if dead || m != never {
		return 0, errKilled
	}
	if c.produces.Load() {
		if s := &c.of.network.swallow; s.Load() > 0 && s.Add(-1) >= 0 {
			c.of.say("%s: answer to a produce request lost", c.of.name)
			_ = c.Close()
			return 0, io.EOF
		}
		if d := time.Duration(c.of.network.delay.Load()); d > 0 {
			time.Sleep(d)
		}
	}
	return n, err
}

func (c *processConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
