package broker

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A guardedListener keeps from kfake what is not the Kafka protocol: it would
// take up to 4 GiB of memory for a size that a browser or a port scanner
// sends, and a request of an unknown kind ends the whole process.
type guardedListener struct {
	net.Listener
	// advertised is what kfake tells clients: it takes it from Addr.
	advertised net.Addr
	log        *slog.Logger
}

func (l *guardedListener) Addr() net.Addr { return l.advertised }

func (l *guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c, log: l.log}, nil
}

// A guardedConn checks the head of each request before kfake sees it. Only
// one goroutine reads from it.
type guardedConn struct {
	net.Conn
	log *slog.Logger

	buf  [headBytes]byte
	head []byte // of the current request, not yet read by kfake
	body int    // bytes of it that are still on the wire after head
}

const (
	headBytes = 4 + 2 // size and API key
	// leastRequest is an API key, a version and a correlation ID.
	leastRequest = 2 + 2 + 4
)

func (c *guardedConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 && c.body == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.body)])
	c.body -= n
	return n, err
}

func (c *guardedConn) next() error {
	for n := 0; n < headBytes; {
		m, err := c.Conn.Read(c.buf[n:])
		if err != nil {
			return err
		}
		n += m
	}
	size := binary.BigEndian.Uint32(c.buf[:4])
	key := int16(binary.BigEndian.Uint16(c.buf[4:]))
	if size < leastRequest || size > maxRequestBytes || kmsg.RequestForKey(key) == nil {
		c.log.Debug("cut a connection that does not speak Kafka", "remote", c.RemoteAddr().String(), "size", size, "key", key)
		return fmt.Errorf("request of %d bytes and kind %d is not Kafka's", size, key)
	}
	c.head, c.body = c.buf[:], int(size)-2
	return nil
}
