package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hooklog/relay"
)

// refusal is a request that must not be accepted.
type refusal struct {
	name string
	raw  []byte
	want int
	code string
	// source is who counts it; empty means the one it was sent to.
	source string
}

// checkRefused sends requests that must be refused, while good ones are sent on
// another connection: none of the latter is affected, and nothing else reaches
// the topic.
func checkRefused(t *testing.T, change func(*relay.Options), cases func(src relay.Source) []refusal) {
	t.Helper()
	k := startKafka(t)
	r := start(t, k, change)
	src := demoSource(t)
	good := dial(t, r)
	promised := make(map[string]string)
	for i, c := range cases(src) {
		before := r.counts(t, "hooklog_relay_requests_total")
		a := r.ask(t, c.raw)
		if a.status != c.want || a.code(t) != c.code {
			t.Errorf("%s: %v, want %d %s", c.name, a, c.want, c.code)
		}
		if got := a.header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: content type %q", c.name, got)
		}
		if got, want := a.header.Get("Retry-After") != "", c.want == 503 || c.want == 429; got != want {
			t.Errorf("%s: has Retry-After: %v, want %v", c.name, got, want)
		}
		source := c.source
		if source == "" {
			source = string(src.Name)
		}
		counted := labels{source, c.code}
		eventually(t, func() error {
			after := r.counts(t, "hooklog_relay_requests_total")
			if after[counted] != before[counted]+1 {
				return fmt.Errorf("%s: outcomes %v, want one more %v", c.name, r.outcomes(t), counted)
			}
			return nil
		})
		id := fmt.Sprintf("msg_%d", i)
		r.sent.Add(1)
		a, err := good.exchange(request(t, src, id, bodyOf(i)))
		if err != nil || a.status != 200 || a.close {
			t.Fatalf("after %s a good request got %v, %v, closing %v, want 200 on an open connection", c.name, a, err, a.close)
		}
		promised[id] = a.place(t)
	}
	checkTopic(t, k, promised)
	if n := len(readTopic(t, k, topicName)); n != len(promised) {
		t.Errorf("the topic has %d records, want %d", n, len(promised))
	}
}

const (
	good    = "POST /hooks/demo HTTP/1.1"
	unknown = "_unknown" // the source that counts what belongs to none
)

func TestRefuseAddressAndMethod(t *testing.T) {
	checkRefused(t, nil, func(src relay.Source) []refusal {
		signed := func(first, body string) []byte {
			return head(first, append(signatureLines(t, src, time.Now(), "msg_bad", body), fmt.Sprint("Content-Length: ", len(body))), body)
		}
		cases := []refusal{
			{"GET", signed("GET /hooks/demo HTTP/1.1", "{}"), 405, "method_not_allowed", ""},
			{"GET without a body", head("GET /hooks/demo HTTP/1.1", nil, ""), 405, "method_not_allowed", ""},
			{"PUT", signed("PUT /hooks/demo HTTP/1.1", "{}"), 405, "method_not_allowed", ""},
			{"OPTIONS", head("OPTIONS /hooks/demo HTTP/1.1", nil, ""), 405, "method_not_allowed", ""},
			{"lower-case method", signed("post /hooks/demo HTTP/1.1", "{}"), 405, "method_not_allowed", ""},
			{"a method of one's own", signed("POSTS /hooks/demo HTTP/1.1", "{}"), 405, "method_not_allowed", ""},
			{"OPTIONS *", head("OPTIONS * HTTP/1.1", nil, ""), 404, "unknown_source", unknown},
			{"CONNECT", head("CONNECT hooks.test:443 HTTP/1.1", nil, ""), 404, "unknown_source", unknown},
			{"large body to nobody", signed("POST /hooks/nobody HTTP/1.1", strings.Repeat("x", 200<<10)), 404, "unknown_source", unknown},
		}
		for _, target := range []string{
			"/", "/hooks", "/hooks/", "/hooks/nobody", "/hooks/demo/", "/hooks//demo", "//hooks/demo", "/hooks/./demo", "/hooks/x/../demo",
			"/hooks/..%2fdemo", "/hooks/..%2f", "/hooks/%64emo", "/hooks/Demo", "/hooks/demo%00", "/hooks/demo%3fx=1", "/hooks/demo;x", "/hooks/demo#x",
			"/HOOKS/demo", "/hooks/_unknown", "/?/hooks/demo", "http://hooks.test", "http://hooks.test/", "http://hooks.test?/hooks/demo", "http:///hooks/demo/",
		} {
			cases = append(cases, refusal{target, signed("POST "+target+" HTTP/1.1", "{}"), 404, "unknown_source", unknown})
		}
		return cases
	})
}

func TestRefuseSignature(t *testing.T) {
	checkRefused(t, nil, func(src relay.Source) []refusal {
		at := func(d time.Duration) []byte { return requestAt(t, src, time.Now().Add(d), "msg_bad", "{}") }
		other := presetSource(t, "standard-webhooks", "demo", "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Rz")
		changed := func(from, to string) []byte {
			raw := string(request(t, src, "msg_bad", `{"type":"a"}`))
			if !strings.Contains(raw, from) {
				t.Fatalf("%q is not in %q", from, raw)
			}
			return []byte(strings.Replace(raw, from, to, 1))
		}
		return []refusal{
			{"none", head(good, []string{"Content-Length: 2"}, "{}"), 401, "missing_signature", ""},
			{"no body either", head(good, nil, ""), 401, "missing_signature", ""},
			{"another secret", request(t, other, "msg_bad", "{}"), 401, "bad_signature", ""},
			{"another body", changed(`"a"`, `"b"`), 401, "bad_signature", ""},
			{"another id", changed("msg_bad", "msg_bat"), 401, "bad_signature", ""},
			{"twice", request(t, src, "msg_bad", "{}", "webhook-signature: v1,x"), 401, "bad_signature", ""},
			{"stale", at(-6 * time.Minute), 401, "stale_timestamp", ""},
			{"from the future", at(6 * time.Minute), 401, "stale_timestamp", ""},
			{"a body that is missing", head(good, signatureLines(t, src, time.Now(), "msg_bad", "{}"), ""), 401, "bad_signature", ""},
		}
	})
}

func TestRefuseMalformed(t *testing.T) {
	checkRefused(t, nil, func(src relay.Source) []refusal {
		const body = `{"type":"a"}`
		signed := func(lines ...string) []byte {
			return head(good, append(lines, signatureLines(t, src, time.Now(), "msg_bad", body)...), body)
		}
		chunks := func(text string) []byte {
			return head(good, append(signatureLines(t, src, time.Now(), "msg_bad", body), "Transfer-Encoding: chunked"), text)
		}
		bad := func(name string, raw []byte, source string) refusal {
			return refusal{name, raw, 400, "bad_request", source}
		}
		length := fmt.Sprint("Content-Length: ", len(body))
		return []refusal{
			bad("folded line", signed(length, "X-Folded: a", " b"), ""),
			bad("folded line with a tab", signed(length, "X-Folded: a", "\tb"), ""),
			bad("folded first line", []byte("POST /hooks/demo HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"), unknown),
			bad("line without a colon", signed(length, "nonsense"), unknown),
			bad("line without a name", signed(length, ": x"), unknown),
			bad("space before the colon", signed("Content-Length : 12"), unknown),
			bad("space in a name", signed(length, "X Y: z"), ""),
			bad("name that is no token", signed(length, "X@Y: z"), unknown),
			bad("null in a value", signed(length, "X: a\x00b"), unknown),
			bad("carriage return in a value", signed(length, "X: a\rb"), unknown),
			bad("two hosts", signed(length, "Host: other.test"), unknown),
			bad("no host", []byte("POST /hooks/demo HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), unknown),
			bad("no version", []byte("POST /hooks/demo\r\nHost: a\r\n\r\n"), unknown),
			bad("another protocol", []byte("POST /hooks/demo HTTP/2.0x\r\nHost: a\r\n\r\n"), unknown),
			bad("a TLS hello", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n\r\n"), unknown),
			bad("a space in the target", head("POST /hooks/demo x HTTP/1.1", nil, ""), unknown),
			bad("two lengths", signed(length, "content-length: 11"), unknown),
			bad("two equal lengths", signed(length, length), unknown),
			bad("negative length", signed("Content-Length: -1"), unknown),
			bad("signed length", signed("Content-Length: +12"), unknown),
			bad("hexadecimal length", signed("Content-Length: 0xc"), unknown),
			bad("two lengths in one", signed("Content-Length: 12, 12"), unknown),
			bad("huge length", signed("Content-Length: 99999999999999999999"), unknown),
			bad("length and chunks", head(good, append(signatureLines(t, src, time.Now(), "msg_bad", body), length, "Transfer-Encoding: chunked"), chunked(body, 5)), ""),
			bad("chunks and length", head(good, append(signatureLines(t, src, time.Now(), "msg_bad", body), "transfer-encoding: Chunked", length), chunked(body, 5)), ""),
			bad("identity", signed(length, "Transfer-Encoding: identity"), ""),
			bad("gzip, chunked", head(good, []string{"Transfer-Encoding: gzip, chunked"}, "0\r\n\r\n"), unknown),
			bad("two codings", head(good, []string{"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"}, "0\r\n\r\n"), unknown),
			bad("chunks in HTTP/1.0", head("POST /hooks/demo HTTP/1.0", []string{"Transfer-Encoding: chunked"}, "0\r\n\r\n"), unknown),
			bad("chunk size that is none", chunks("xyz\r\nhello\r\n0\r\n\r\n"), ""),
			bad("empty chunk size", chunks("\r\nhello\r\n0\r\n\r\n"), ""),
			bad("negative chunk size", chunks("-5\r\nhello\r\n0\r\n\r\n"), ""),
			bad("huge chunk size", chunks("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), ""),
			bad("chunk longer than its size", chunks("3\r\nhello\r\n0\r\n\r\n"), ""),
			bad("line feed in a chunk extension", chunks("5;a\nb\r\nhello\r\n0\r\n\r\n"), ""),
			bad("bare line feed after a chunk size", chunks("5\nhello\n0\n\n"), ""),
			bad("forbidden trailer", chunks("5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"), ""),
		}
	})
}

// TestMethodNotAllowed looks at what the table does not: Allow, and that the
// answer to HEAD has no body.
func TestMethodNotAllowed(t *testing.T) {
	r := start(t, startKafka(t), nil)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH"} {
		a := r.ask(t, head(method+" /hooks/demo HTTP/1.1", nil, ""))
		if a.status != 405 || a.header.Get("Allow") != "POST" || (a.body == "") != (method == "HEAD") {
			t.Errorf("%s: %v with Allow %q, want 405 and POST", method, a, a.header.Get("Allow"))
		}
	}
}
