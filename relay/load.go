package relay

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// load bounds the requests that are being worked on, by count, and the bytes
// of those and of the ones that are still arriving.
type load struct {
	maxRequests, maxBytes int64
	requests, bytes       atomic.Int64
}

// reserve makes room for a request of that many bytes in all; false means full.
func (l *load) reserve(r *request, size int) bool {
	more := int64(size) - r.reserved
	if more <= 0 {
		return true
	}
	if l.bytes.Add(more) > l.maxBytes {
		l.bytes.Add(-more)
		return false
	}
	r.reserved += more
	return true
}

// enter takes in a request that has arrived; false means full. Slow senders
// take none of the places.
func (l *load) enter(r *request) bool {
	if !l.reserve(r, len(r.raw)+len(r.Body)) {
		return false
	}
	if l.requests.Add(1) > l.maxRequests {
		l.requests.Add(-1)
		return false
	}
	r.entered = true
	return true
}

// leave gives back what a request has taken.
func (l *load) leave(r *request) {
	if r.entered {
		l.requests.Add(-1)
	}
	l.bytes.Add(-r.reserved)
}

// refusalOf judges why a request could not be read whole, by the error and by
// how reading from the connection ended, if it did: most of fasthttp's errors
// hide what is behind them.
func refusalOf(err, read error) answer {
	var tooSmall *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.As(err, &tooSmall):
		return refuse(HeadersTooLarge, "The header block is too large.")
	case errors.As(read, &timeout) && timeout.Timeout():
		return refuse(RequestTimeout, "The request did not arrive in time.")
	case read != nil:
		return refuse(Aborted, "The connection ended within the request.")
	}
	return refuse(BadRequest, "The request is not HTTP/1.1 as RFC 9112 has it.")
}
