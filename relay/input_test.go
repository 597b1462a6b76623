package relay_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hooklog/relay"
)

// TestBodiesByteForByte: what the record holds is what was sent, whatever it
// is, however it was framed.
func TestBodiesByteForByte(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(bodyOf(1))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 100<<10)
	_, _ = rand.Read(random)
	bodies := map[string]struct{ line, body string }{
		"multipart": {
			"Content-Type: multipart/form-data; boundary=x",
			"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nhello\r\n--x--\r\n",
		},
		"multipart-broken": {"Content-Type: multipart/form-data; boundary=x", "--y\r\nno part"},
		"form":             {"Content-Type: application/x-www-form-urlencoded", "a=1&b=%20+x&payload=%7B%22type%22%3A1%7D&a=2"},
		"gzip":             {"Content-Encoding: gzip", zipped.String()},
		"line-ends":        {"Content-Type: text/plain", "\r\n\n\r a\r\nb\n\r\n\r\n"},
		"byte-order-mark":  {"Content-Type: application/json", "\ufeff{\"type\":\"a\"}"},
		"invalid-utf-8":    {"Content-Type: application/json", "{\"type\":\"\xff\xfe\xc0\x80\"}"},
		"null-bytes":       {"Content-Type: application/octet-stream", "\x00\x00\x00"},
		"empty":            {"Content-Type: application/json", ""},
		"not-json":         {"Content-Type: application/json", "<xml/>"},
		"brackets":         {"Content-Type: application/json", strings.Repeat("[", 1<<20)},
		"braces":           {"Content-Type: application/json", strings.Repeat(`{"a":`, 200_000)},
		"random":           {"Content-Type: application/octet-stream", string(random)},
		"looks-like-http":  {"Content-Type: text/plain", "POST /hooks/demo HTTP/1.1\r\nHost: a\r\n\r\n"},
	}
	k := startKafka(t)
	r := start(t, k, nil)
	src := demoSource(t)
	promised := make(map[string]string)
	want := make(map[string]string)
	for name, b := range bodies {
		lines := append(signatureLines(t, src, time.Now(), name+"-chunked", b.body), b.line, "Transfer-Encoding: chunked")
		for id, raw := range map[string][]byte{
			name:              request(t, src, name, b.body, b.line),
			name + "-chunked": head(good, lines, chunked(b.body, 777)),
		} {
			a := r.ask(t, raw)
			if a.status != 200 || a.code(t) != "accepted" {
				t.Errorf("%s: %v, want 200 accepted", id, a)
				continue
			}
			promised[id], want[id] = a.place(t), b.body
		}
	}
	checkTopic(t, k, promised)
	for _, rec := range readTopic(t, k, topicName) {
		if string(rec.Value) != want[string(rec.Key)] || rec.Value == nil {
			t.Errorf("%s: the value differs from the body", rec.Key)
		}
	}
}

// TestForms are ways to write a request that are right, if rare.
func TestForms(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, nil)
	src := demoSource(t)
	const body = `{"type":"a"}`
	length := fmt.Sprint("Content-Length: ", len(body))
	signed := func(id, first string, lines ...string) []byte {
		return head(first, append(lines, signatureLines(t, src, time.Now(), id, body)...), body)
	}
	lower := func(raw []byte) []byte {
		h, b, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		first, lines, _ := bytes.Cut(h, []byte("\r\n"))
		var out []string
		for line := range strings.SplitSeq(string(lines), "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			out = append(out, strings.ToLower(name)+":"+value)
		}
		return []byte(string(first) + "\r\n" + strings.Join(out, "\r\n") + "\r\n\r\n" + string(b))
	}
	upper := func(raw []byte) []byte {
		return bytes.Replace(raw, []byte("Content-Length"), []byte("CONTENT-LENGTH"), 1)
	}
	chunks := func(id, text string) []byte {
		return head(good, append(signatureLines(t, src, time.Now(), id, body), "transfer-encoding: chunked"), text)
	}
	requests := map[string][]byte{
		"query":            signed("query", "POST /hooks/demo?x=1 HTTP/1.1", length),
		"empty-query":      signed("empty-query", "POST /hooks/demo? HTTP/1.1", length),
		"absolute":         signed("absolute", "POST http://hooks.test/hooks/demo HTTP/1.1", length),
		"absolute-query":   signed("absolute-query", "POST https://other.test:444/hooks/demo?x=http://y/ HTTP/1.1", length),
		"lower-case":       lower(signed("lower-case", good, length)),
		"upper-case":       upper(signed("upper-case", good, length)),
		"http-1-0":         signed("http-1-0", "POST /hooks/demo HTTP/1.0", length),
		"leading-lines":    append([]byte("\r\n\r\n"), signed("leading-lines", good, length)...),
		"leading-zeros":    signed("leading-zeros", good, fmt.Sprint("Content-Length: 000", len(body))),
		"no-space":         signed("no-space", good, "content-length:"+fmt.Sprint(len(body))),
		"much-space":       signed("much-space", good, "Content-Length: \t  "+fmt.Sprint(len(body))+" \t"),
		"bare-line-feeds":  signed("bare-line-feeds", good, "X: y\nZ: w", length),
		"chunk-extensions": chunks("chunk-extensions", fmt.Sprintf("%X;a=b;c=\"d\"\r\n%s\r\n0;x\r\n\r\n", len(body), body)),
		"trailers":         chunks("trailers", fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Trailer: y\r\n\r\n", len(body), body)),
		"leading-zero":     chunks("leading-zero", fmt.Sprintf("0%x\r\n%s\r\n00\r\n\r\n", len(body), body)),
		"closing":          signed("closing", good, length, "Connection: close"),
	}
	promised := make(map[string]string)
	for id, raw := range requests {
		a := r.ask(t, raw)
		if a.status != 200 || a.code(t) != "accepted" {
			t.Errorf("%s: %v, want 200 accepted", id, a)
			continue
		}
		if want := id == "http-1-0" || id == "closing"; a.close != want {
			t.Errorf("%s: the connection closes %v, want %v", id, a.close, want)
		}
		promised[id] = a.place(t)
	}
	checkTopic(t, k, promised)
}

// TestPipelined: requests that are sent without waiting are answered in order,
// and one that is refused does not disturb the others.
func TestPipelined(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, nil)
	src := demoSource(t)
	w := dial(t, r)
	var raw []byte
	for i := range 20 {
		switch i % 4 {
		case 1: // its body must not be read as a request
			raw = append(raw, head("PUT /hooks/demo HTTP/1.1", []string{"Content-Length: 40"}, "POST /hooks/demo HTTP/1.1\r\nHost: a\r\n\r\n  ")...)
		case 2:
			raw = append(raw, head("POST /hooks/nobody HTTP/1.1", []string{"Transfer-Encoding: chunked"}, chunked(bodyOf(i), 10))...)
		default:
			raw = append(raw, request(t, src, fmt.Sprint("msg_", i), bodyOf(i))...)
		}
	}
	r.sent.Add(20)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	promised := make(map[string]string)
	for i := range 20 {
		want := map[int]int{1: 405, 2: 404}[i%4]
		a, err := w.read("POST")
		if err != nil || a.status != max(want, 200) {
			t.Fatalf("request %d: %v, %v, want %d", i, a, err, max(want, 200))
		}
		if want == 0 {
			if id := fmt.Sprint("msg_", i); !strings.Contains(a.body, `"`+id+`"`) {
				t.Fatalf("request %d is answered with %v", i, a)
			}
			promised[fmt.Sprint("msg_", i)] = a.place(t)
		}
	}
	checkTopic(t, k, promised)
}

// TestExpectContinue: a sender that asks first is told to go on.
func TestExpectContinue(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, nil)
	w := dial(t, r)
	raw := request(t, demoSource(t), "msg_1", bodyOf(1), "Expect: 100-continue")
	h, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	r.sent.Add(1)
	if _, err := w.Write(append(h, "\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.br, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("before the body: %v, %v, want 100", resp, err)
	}
	a, err := w.exchange(body)
	if err != nil || a.status != 200 {
		t.Fatalf("%v, %v, want 200", a, err)
	}
	checkTopic(t, k, map[string]string{"msg_1": a.place(t)})
}

// slowly starts a relay that waits for a request no longer than that.
func slowly(t *testing.T, patience time.Duration) *testRelay {
	return start(t, startKafka(t), func(o *relay.Options) { o.Limits.ReadTimeout = patience })
}

// TestSlowRequests: a request that does not arrive in time gets 408, however
// busily its sender drips.
func TestSlowRequests(t *testing.T) {
	const patience = 300 * time.Millisecond
	r := slowly(t, patience)
	whole := string(request(t, demoSource(t), "msg_1", bodyOf(1)))
	inChunks := string(head(good, []string{"Transfer-Encoding: chunked"}, ""))
	for _, c := range []struct {
		name, raw, source string
		drip              string
	}{
		{"first line", "POST /hooks/de", unknown, ""},
		{"header", whole[:100], unknown, ""},
		{"header that drips", whole[:60], unknown, "X"},
		{"body", whole[:len(whole)-10], "demo", ""},
		{"body that drips", whole[:len(whole)-70], "demo", "x"},
		{"body of which nothing comes", whole[:len(whole)-len(bodyOf(1))], unknown, ""}, // see receiveError
		{"chunk size", inChunks, "demo", ""},
		{"chunk", inChunks + "ff\r\nabc", "demo", ""},
		{"chunk's end", inChunks + "3\r\nabc", "demo", ""},
		{"last chunk", inChunks + "3\r\nabc\r\n", "demo", ""},
		{"trailer", inChunks + "3\r\nabc\r\n0\r\nX: y", "demo", ""},
	} {
		before := r.counts(t, "hooklog_relay_requests_total")
		began := time.Now() // the relay's clock starts when the connection is there
		w := dial(t, r)
		r.sent.Add(1)
		if _, err := w.Write([]byte(c.raw)); err != nil {
			t.Fatal(err)
		}
		if c.drip != "" {
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					case <-time.After(patience / 10):
						_, _ = w.Write([]byte(c.drip)) // may come too late
					}
				}
			}()
			defer func() { close(stop); <-done }()
		}
		a, err := w.read("POST")
		if err != nil || a.status != 408 || a.code(t) != "request_timeout" || !a.close {
			t.Errorf("%s: %v, %v, want 408 request_timeout and closing", c.name, a, err)
		}
		if d := time.Since(began); d < patience || d > 5*patience {
			t.Errorf("%s: refused after %v, want a little more than %v", c.name, d, patience)
		}
		l := labels{c.source, "request_timeout"}
		if after := r.counts(t, "hooklog_relay_requests_total"); after[l] != before[l]+1 {
			t.Errorf("%s: not counted as %v: %v", c.name, l, r.outcomes(t))
		}
	}
	if a := r.post(t, demoSource(t), "msg_1", bodyOf(1)); a.status != 200 {
		t.Errorf("a good request afterwards: %v", a)
	}
}

// TestAbortedRequests: a request that its sender gives up is counted as that.
func TestAbortedRequests(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, nil)
	whole := string(request(t, demoSource(t), "msg_1", bodyOf(1)))
	inChunks := string(head(good, []string{"Transfer-Encoding: chunked"}, ""))
	for _, c := range []struct{ name, raw, source string }{
		{"first line", "POST /hooks/de", unknown},
		{"header", whole[:100], unknown},
		{"body", whole[:len(whole)-10], "demo"},
		{"all but a byte", whole[:len(whole)-1], "demo"},
		{"chunk size", inChunks + "f", "demo"},
		{"chunk", inChunks + "ff\r\nabc", "demo"},
		{"last chunk", inChunks + "3\r\nabc\r\n", "demo"},
		{"last chunk's size", inChunks + "3\r\nabc\r\n0", "demo"},
		{"trailer", inChunks + "3\r\nabc\r\n0\r\n", "demo"},
	} {
		for _, reset := range []bool{false, true} {
			before := r.counts(t, "hooklog_relay_requests_total")
			w := dial(t, r)
			r.sent.Add(1)
			read := r.read.Load() + int64(len(c.raw))
			if _, err := w.Write([]byte(c.raw)); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error { // a reset would take back what was not read yet
				if n := r.read.Load(); n < read {
					return fmt.Errorf("%d bytes were read, want %d", n, read)
				}
				return nil
			})
			if reset {
				if err := w.Conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error {
				l := labels{c.source, "aborted"}
				if after := r.counts(t, "hooklog_relay_requests_total"); after[l] != before[l]+1 {
					return fmt.Errorf("%s (reset %v) is not counted as %v: %v", c.name, reset, l, r.outcomes(t))
				}
				return nil
			})
		}
	}
	if n := len(readTopic(t, k, topicName)); n != 0 {
		t.Errorf("the topic has %d records of requests that were not whole", n)
	}
}

// TestIdleConnections: a connection is no request, before the first one and
// after the last.
func TestIdleConnections(t *testing.T) {
	r := start(t, startKafka(t), func(o *relay.Options) {
		o.Limits.ReadTimeout, o.Limits.IdleTimeout = time.Second, 200*time.Millisecond
	})
	for range 3 {
		if err := dial(t, r).Close(); err != nil {
			t.Fatal(err)
		}
	}
	raw := request(t, demoSource(t), "msg_1", "{}")
	w := dial(t, r)
	r.sent.Add(1)
	if a, err := w.exchange(raw); err != nil || a.status != 200 {
		t.Fatalf("%v, %v", a, err)
	}
	for name, w := range map[string]*wire{"used": w, "unused": dial(t, r)} {
		for {
			if _, err := w.br.ReadByte(); err != nil { // of the 408 that an unused one gets
				var timeout net.Error
				if errors.As(err, &timeout) && timeout.Timeout() {
					t.Errorf("the %s connection is still open", name)
				}
				break
			}
		}
	}
	if got := r.outcomes(t); fmt.Sprint(got) != "map[accepted:1]" {
		t.Errorf("outcomes %v, want one accepted", got)
	}
}
