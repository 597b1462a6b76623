package relay

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/valyala/fasthttp"

	"hooklog/relay/index"
	"hooklog/relay/spool"
	"hooklog/schemas"
)

// SetClock replaces the clock that requests are judged and stamped by. Call it
// before Run.
func (s *Server) SetClock(now func() time.Time) { s.clock = now }

// OnDisk gives the index and the spool another file system. Call it before Run.
func (s *Server) OnDisk(fs vfs.FS) {
	s.openSpoolStore = func(o spool.Options) (*spool.Spool, error) {
		o.FS = fs
		return spool.Open(o)
	}
	s.openIndex = func(o index.Options) (*index.Index, error) {
		o.FS = fs
		return index.Open(o)
	}
}

// Handle serves one request without a connection. Call it only while Run runs.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) { s.handle(ctx) }

// Lookup is where the index holds an event, or "".
func (s *Server) Lookup(source schemas.SourceName, id schemas.EventID) string {
	fact, ok, err := s.index.Lookup(schemas.KeyOf(source, id), time.Time{})
	switch {
	case err != nil:
		return err.Error()
	case !ok:
		return ""
	}
	return s.index.Position(fact).String()
}

// Outcomes are all there are.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomeCount)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}

// Title is that of the outcome's problem.
func (o Outcome) Title() string { return outcomes[o].title }

// Durable reports whether the outcome promises that the event is kept.
func (o Outcome) Durable() bool { return o.durable() }

// Refusal is the answer of an outcome, as it goes out.
func Refusal(o Outcome, detail string) *fasthttp.Response {
	resp := new(fasthttp.Response)
	writeProblem(resp, refuse(o, detail))
	return resp
}

// EventAnswer is the body of an answer that promises durability.
func EventAnswer(o Outcome, source schemas.SourceName, id schemas.EventID, pos schemas.Position) string {
	return string(appendEventAnswer(nil, source, id, answer{outcome: o, position: pos}))
}

// RedactTarget is redactTarget.
func RedactTarget(target string) string { return redactTarget([]byte(target)) }

// RefusalOf is the outcome of a request that could not be read.
func RefusalOf(err, read error) Outcome { return refusalOf(err, read).outcome }

// ParsedField is a header field as the relay reads it.
type ParsedField struct{ Name, Value string }

// ParseHeader reads a header block. Besides, it checks what no input may break:
// every place lies inside the block and says the same as the field.
func ParseHeader(raw []byte) ([]ParsedField, bool, error) {
	r := newRequest()
	r.raw = raw
	ok := r.parse()
	var fields []ParsedField
	for i, p := range r.places {
		if p.name < 0 || p.name >= p.nameEnd || p.nameEnd >= p.value || p.value > p.valueEnd || p.valueEnd > len(raw) {
			return nil, ok, fmt.Errorf("field %d stands at %+v of %d bytes", i, p, len(raw))
		}
		if !ok {
			continue
		}
		f := ParsedField{string(raw[p.name:p.nameEnd]), string(raw[p.value:p.valueEnd])}
		if string(r.Fields[i].Name) != f.Name || string(r.Fields[i].Value) != f.Value {
			return nil, ok, fmt.Errorf("field %d is %q: %q, its place says %+v", i, r.Fields[i].Name, r.Fields[i].Value, f)
		}
		fields = append(fields, f)
	}
	if ok && len(r.Fields) != len(r.places) {
		return nil, ok, fmt.Errorf("%d fields in %d places", len(r.Fields), len(r.places))
	}
	return fields, ok, nil
}

// Load is the bound on what is being worked on.
type Load struct{ load load }

// NewLoad returns an empty one.
func NewLoad(requests, bytes int64) *Load {
	return &Load{load{maxRequests: requests, maxBytes: bytes}}
}

// Enter takes in a request with a body of that size, and returns how to leave;
// nil if it is full.
func (l *Load) Enter(size int) func() {
	r := newRequest()
	r.Body = make([]byte, size)
	if !l.load.enter(r) {
		l.load.leave(r)
		return nil
	}
	return func() { l.load.leave(r) }
}

// Held is what is in.
func (l *Load) Held() (requests, bytes int64) { return l.load.requests.Load(), l.load.bytes.Load() }

// NewThrottle returns a throttle's Warn.
func NewThrottle(log *slog.Logger, every time.Duration) func(msg string, args ...any) {
	return newThrottle(log, every).Warn
}

// NewListener wraps a listener as Serve does.
func NewListener(l net.Listener, limit int, full func(net.Conn)) net.Listener {
	return newListener(l, limit, full)
}
