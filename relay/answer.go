package relay

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"hooklog/schemas"
)

// answer is what a request gets. Detail is for the sender: it says what to do,
// never what was expected.
type answer struct {
	outcome    Outcome
	detail     string
	position   schemas.Position
	retryAfter time.Duration
	hangUp     bool // the connection cannot be used for another request
}

// retryAfter is what senders are asked to wait where nothing better is known:
// long enough for an election, short enough for a first retry to succeed.
const retryAfter = 5 * time.Second

func refuse(o Outcome, detail string) answer {
	a := answer{outcome: o, detail: detail}
	if s := o.Status(); s == fasthttp.StatusServiceUnavailable || s == fasthttp.StatusTooManyRequests {
		a.retryAfter = retryAfter
	}
	return a
}

// hangUp ends the connection with the answer: what is left of the request would
// have to be read first.
func hangUp(a answer) *answer {
	a.hangUp = true
	return &a
}

// writeEvent answers a request whose event is durable.
func writeEvent(resp *fasthttp.Response, src *source, id schemas.EventID, a answer) {
	if r := src.Response; r != nil {
		resp.SetStatusCode(r.Status)
		if r.ContentType != "" {
			resp.Header.SetContentType(r.ContentType)
		}
		resp.SetBodyString(r.Body)
		return
	}
	resp.SetStatusCode(a.outcome.Status())
	resp.Header.SetContentType("application/json")
	resp.SetBodyRaw(appendEventAnswer(make([]byte, 0, 256), src.Name, id, a))
}

func appendEventAnswer(b []byte, source schemas.SourceName, id schemas.EventID, a answer) []byte {
	b = append(b, `{"id":`...)
	b = appendJSONString(b, string(id))
	b = append(b, `,"source":`...)
	b = appendJSONString(b, string(source))
	b = append(b, `,"outcome":"`...)
	b = append(b, a.outcome.String()...)
	b = append(b, '"')
	if a.outcome != Spooled {
		b = append(b, `,"topic":`...)
		b = appendJSONString(b, a.position.Topic)
		b = append(b, `,"partition":`...)
		b = strconv.AppendInt(b, int64(a.position.Partition), 10)
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, a.position.Offset, 10)
	}
	return append(b, "}\n"...)
}

// appendJSONString appends s quoted. Nearly all IDs need no escapes.
func appendJSONString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("BUG: a string is always valid JSON: " + err.Error())
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// problem is the body of every refusal (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// writeProblem answers a request that was refused.
func writeProblem(resp *fasthttp.Response, a answer) {
	info := outcomes[a.outcome]
	body, err := json.Marshal(problem{Status: info.status, Title: info.title, Code: info.code, Detail: a.detail})
	if err != nil {
		panic("BUG: a problem is always valid JSON: " + err.Error())
	}
	resp.Reset()
	resp.SetStatusCode(info.status)
	resp.Header.SetContentType("application/problem+json")
	resp.Header.Set("Cache-Control", "no-store")
	resp.Header.Set("X-Content-Type-Options", "nosniff")
	if a.retryAfter > 0 {
		seconds := max(1, int64((a.retryAfter+time.Second-1)/time.Second))
		resp.Header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if a.outcome == MethodNotAllowed {
		resp.Header.Set("Allow", fasthttp.MethodPost)
	}
	resp.SetBodyRaw(append(body, '\n'))
}
