package relay

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// listener accepts the ingress's connections and knows which are open. It is
// ours because fasthttp's own way gives up for good when the process has no
// file left for a connection, and answers one connection too many in words of
// its own, counted nowhere.
type listener struct {
	net.Listener
	limit int
	// full answers a connection that is one too many.
	full func(net.Conn)

	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newListener(l net.Listener, limit int, full func(net.Conn)) *listener {
	return &listener{Listener: l, limit: limit, full: full, closed: make(chan struct{}), conns: make(map[*conn]struct{})}
}

// Accept returns the next connection. Errors other than that of a closed
// listener pass: files run out, senders hang up before they are let in.
func (l *listener) Accept() (net.Conn, error) {
	const first, longest = 5 * time.Millisecond, time.Second
	for pause := first; ; {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			if tracked := l.track(c); tracked != nil {
				return tracked, nil
			}
			l.full(c)
			pause = first
			continue
		case errors.Is(err, net.ErrClosed):
			return nil, err
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		case <-time.After(pause):
			pause = min(2*pause, longest)
		}
	}
}

// track returns nil if there are as many connections as there may be.
func (l *listener) track(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.limit {
		return nil
	}
	tracked := &conn{Conn: c, of: l}
	l.conns[tracked] = struct{}{}
	return tracked
}

// Close ends Accept. It may be called several times.
func (l *listener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

// closeSilent closes the connections on which nothing was ever sent: fasthttp
// would wait for their first request.
func (l *listener) closeSilent() {
	l.closeIf(func(c *conn) bool { return !c.heard.Load() })
}

// closeAll cuts every connection.
func (l *listener) closeAll() { l.closeIf(func(*conn) bool { return true }) }

func (l *listener) closeIf(f func(*conn) bool) {
	l.mu.Lock()
	var chosen []*conn
	for c := range l.conns {
		if f(c) {
			chosen = append(chosen, c)
		}
	}
	l.mu.Unlock()
	for _, c := range chosen {
		_ = c.Close() // The sender learns of it; there is nobody else to tell.
	}
}

// conn is a connection that remembers how reading from it ended: fasthttp
// wraps that in errors that do not unwrap.
type conn struct {
	net.Conn
	of    *listener
	heard atomic.Bool
	err   error // Read and written by the goroutine that serves the connection.
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard.Load() {
		c.heard.Store(true)
	}
	if err != nil {
		c.err = err
	}
	return n, err
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// readError is how reading from a connection ended; nil while it goes on.
func readError(c net.Conn) error {
	if c, ok := c.(*conn); ok {
		return c.err
	}
	return nil
}
