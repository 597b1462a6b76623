package relay

import (
	"bytes"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"hooklog/relay/signature"
	"hooklog/schemas"
)

// request is the state of one request, reused. Everything in it dies with the
// handler; what outlives it is copied by event.
type request struct {
	signature.Request

	arrived time.Time // when the whole request was there
	raw     []byte    // the header block as received
	places  []place
	buffer  []byte         // of the body
	header  schemas.Lookup // bound once, so that extracting allocates nothing
	timer   *time.Timer

	source *source
	id     schemas.EventID
	typ    schemas.EventType
	body   uint32 // schemas.BodySum

	reserved int64 // bytes of the load
	entered  bool  // counted in the load
}

// place is where a header field stands in the header block.
type place struct{ name, nameEnd, value, valueEnd int }

func newRequest() *request {
	r := &request{timer: time.NewTimer(time.Hour)}
	r.timer.Stop()
	r.header = r.lookup
	return r
}

// load points the request at fasthttp's buffers, its body excepted. It returns
// false for a header block that is malformed.
func (r *request) load(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Request.Header
	r.Method = h.Method()
	r.Target = h.RequestURI()
	r.raw = h.RawHeaders()
	if !r.parse() {
		return false
	}
	// Two framings, or one that is not known here, and a proxy may have seen
	// another body. RFC 9112 (6.1, 6.3) lets a server refuse.
	coding := r.lookup("transfer-encoding")
	chunked := h.ContentLength() == -1
	return (coding != nil) == chunked && (!chunked || r.lookup("content-length") == nil)
}

// parse finds the fields of the header block. It returns false if one of its
// lines is no field.
func (r *request) parse() bool {
	r.places = r.places[:0]
	r.Fields = r.Fields[:0]
	for pos := 0; pos < len(r.raw); {
		end := bytes.IndexByte(r.raw[pos:], '\n')
		if end < 0 {
			end = len(r.raw) - pos
		}
		line := r.raw[pos : pos+end]
		next := pos + end + 1
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || bytes.ContainsAny(line[:colon], " \t") {
			// No name, no token, or a folded line, which RFC 9112 (5.1, 5.2) lets
			// a server refuse: what a proxy in front made of it is anyone's guess.
			return false
		}
		value := pos + colon + 1
		valueEnd := pos + len(line)
		for value < valueEnd && (r.raw[value] == ' ' || r.raw[value] == '\t') {
			value++
		}
		for value < valueEnd && (r.raw[valueEnd-1] == ' ' || r.raw[valueEnd-1] == '\t') {
			valueEnd--
		}
		r.places = append(r.places, place{name: pos, nameEnd: pos + colon, value: value, valueEnd: valueEnd})
		pos = next
	}
	for _, p := range r.places {
		r.Fields = append(r.Fields, signature.Field{Name: r.raw[p.name:p.nameEnd], Value: r.raw[p.value:p.valueEnd]})
	}
	return true
}

// release drops every reference to fasthttp's buffers, and the request's own
// if a sender made them large.
func (r *request) release() {
	if cap(r.places) > 256 {
		r.places, r.Fields = nil, nil
	}
	if cap(r.buffer) > keptBuffer {
		r.buffer = nil
	}
	clear(r.Fields)
	*r = request{
		places: r.places[:0], buffer: r.buffer[:0], header: r.header, timer: r.timer,
		Request: signature.Request{Fields: r.Fields[:0]},
	}
}

// lookup is the first value of a header.
func (r *request) lookup(name string) []byte {
	value, _ := r.Header(name)
	return value
}

// event makes the event of a verified request. It owns its bytes: body and
// header values lie in one allocation of their own.
func (r *request) event(result signature.Result) schemas.Event {
	owned := make([]byte, 0, len(r.raw)+len(r.Body))
	owned = append(append(owned, r.raw...), r.Body...)
	e := schemas.Event{
		ID:       r.id,
		Source:   r.source.Name,
		Type:     r.typ,
		Time:     r.arrived,
		Received: r.arrived,
		Scheme:   r.source.scheme,
		SecretID: result.SecretID,
		Method:   string(r.Method),
		Target:   redactTarget(r.Target),
		URL:      r.URL,
		Headers:  make([]schemas.Header, 0, len(r.places)),
		Body:     owned[len(r.raw):],
	}
	if text, ok := r.source.Time.Extract(r.header, r.Body); ok {
		if t, ok := schemas.ParseTime(text); ok {
			e.Time = t
		}
	}
	for _, p := range r.places {
		name := schemas.HeaderName(r.raw[p.name:p.nameEnd])
		if !schemas.Stored(name) {
			continue
		}
		value := owned[p.value:p.valueEnd:p.valueEnd]
		if name == "content-type" && e.ContentType == "" {
			e.ContentType = string(value)
		}
		e.Headers = append(e.Headers, schemas.Header{Name: name, Value: value})
	}
	return e
}

// secretParameters are query parameters that by their name carry a credential.
var secretParameters = map[string]bool{
	"access_token": true, "api_key": true, "apikey": true, "auth": true, "key": true, "password": true,
	"secret": true, "sig": true, "signature": true, "token": true,
}

// redactTarget returns the request target with the values of credentials in
// its query, and before its host, replaced.
func redactTarget(target []byte) string {
	path, query, found := strings.Cut(string(target), "?")
	if scheme, rest, ok := strings.Cut(path, "://"); ok && path[0] != '/' {
		host, after, slash := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			path = scheme + "://REDACTED" + host[i:]
			if slash {
				path += "/" + after
			}
		}
	}
	if !found {
		return path
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		name, _, hasValue := strings.Cut(p, "=")
		if hasValue && secretParameter(name) {
			params[i] = name + "=REDACTED"
		}
	}
	return path + "?" + strings.Join(params, "&")
}

// secretParameter judges a parameter by its name, however it is escaped.
func secretParameter(name string) bool {
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	return secretParameters[strings.ToLower(name)]
}
