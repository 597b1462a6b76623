package relay

import (
	"bytes"
	"io"

	"github.com/valyala/fasthttp"
)

const (
	// firstRead is the buffer that reading a body starts with: most bodies fit,
	// and a sender that announces a large one and sends nothing gets no more.
	firstRead = 8 << 10
	// keptBuffer is the largest buffer that is kept for the next request.
	keptBuffer = 64 << 10
)

// received takes bodies that will be refused unseen from fasthttp, which would
// wait for their first byte before anybody is asked.
func (s *Server) received(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	most := firstRead // of what nobody wants; so much is read and forgotten
	if src := s.sources.lookup(h.RequestURI()); src != nil {
		most = src.MaxBody
	}
	if h.ContentLength() > most {
		h.SetContentLength(0)
		h.SetConnectionClose()
	}
	return fasthttp.RequestConfig{}
}

// readBody reads the body into the request's own buffer, or says why not. What
// it takes of memory grows with what has arrived, and is part of the load
// before it is taken; a Content-Length alone takes nothing.
func (s *Server) readBody(r *request, ctx *fasthttp.RequestCtx) *answer {
	size := ctx.Request.Header.ContentLength() // negative: chunked, or no body
	if size == 0 && len(bytes.Trim(r.lookup("content-length"), "0")) > 0 {
		return hangUp(refuse(BodyTooLarge, "The body is larger than this source takes.")) // see received
	}
	stream := ctx.RequestBodyStream()
	if stream == nil {
		r.Body = ctx.Request.Body() // there is none
		return nil
	}
	most := size
	if size < 0 {
		most = r.source.MaxBody + 1 // one byte too many tells that it is too large
	}
	for r.Body = r.buffer[:0]; len(r.Body) < most; {
		room := min(cap(r.Body), most)
		if len(r.Body) == room {
			room = min(max(2*room, firstRead), most)
		}
		if !s.load.reserve(r, len(r.raw)+room) {
			return hangUp(refuse(Overloaded, "Too many requests are being worked on."))
		}
		if room > cap(r.Body) {
			r.Body = append(make([]byte, 0, room), r.Body...)
			r.buffer = r.Body
		}
		n, err := stream.Read(r.Body[len(r.Body):room])
		r.Body = r.Body[:len(r.Body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return hangUp(refusalOf(err, readError(ctx.Conn())))
		}
	}
	switch {
	case len(r.Body) > r.source.MaxBody:
		return hangUp(refuse(BodyTooLarge, "The body is larger than this source takes."))
	case len(r.Body) < size: // fasthttp takes the connection's end for the body's
		return hangUp(refusalOf(io.ErrUnexpectedEOF, readError(ctx.Conn())))
	}
	return nil
}
