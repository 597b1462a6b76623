package relay_test

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hooklog/relay"
)

const someKB = 80 << 10 // a header block, a read buffer and change

// TestBodyLimit: a body of max_body is taken, one more byte is not, and no more
// of it is read.
func TestBodyLimit(t *testing.T) {
	const limit = 256 << 10
	k := startKafka(t)
	r := start(t, k, func(o *relay.Options) { o.Sources[0].MaxBody = limit })
	src := demoSource(t)
	promised := make(map[string]string)
	inChunks := func(id, body string, size int) []byte {
		lines := append(signatureLines(t, src, time.Now(), id, body), "Transfer-Encoding: chunked")
		return head(good, lines, chunked(body, size))
	}
	largest := strings.Repeat("x", limit)
	for id, raw := range map[string][]byte{
		"with a length": request(t, src, "with-a-length", largest),
		"in chunks":     inChunks("in-chunks", largest, 1000),
		"in one chunk":  inChunks("in-one-chunk", largest, limit),
	} {
		a := r.ask(t, raw)
		if a.status != 200 {
			t.Fatalf("the largest body %s: %v, want 200", id, a)
		}
		promised[strings.ReplaceAll(id, " ", "-")] = a.place(t)
	}
	for name, raw := range map[string][]byte{
		"with a length":                     request(t, src, "msg_large", largest+"x"),
		"in chunks":                         inChunks("msg_large", largest+"x", 1000),
		"in one chunk":                      inChunks("msg_large", largest+"x", limit+1),
		"announced only":                    head(good, []string{"Content-Length: 1000000000000"}, ""),
		"announced by a chunk":              head(good, []string{"Transfer-Encoding: chunked"}, "ffffffff\r\nx"),
		"expecting to continue":             head(good, []string{"Content-Length: 1000000", "Expect: 100-continue"}, ""),
		"signed wrongly, which is not read": head(good, []string{"Content-Length: 1000000", "webhook-signature: v1,x"}, ""),
	} {
		before := r.read.Load()
		if strings.HasPrefix(name, "announced by") {
			raw = append(raw, strings.Repeat("x", limit+10)...)
		}
		a := r.ask(t, raw)
		if a.status != 413 || a.code(t) != "body_too_large" || !a.close {
			t.Errorf("a larger body %s: %v, closing %v, want 413 and closing", name, a, a.close)
		}
		if n := r.read.Load() - before; n > limit+someKB {
			t.Errorf("a larger body %s: %d bytes were read of it, the limit is %d", name, n, limit)
		}
	}
	if got := r.counts(t, "hooklog_relay_requests_total")[labels{"demo", "body_too_large"}]; got != 7 {
		t.Errorf("the source counts %v larger bodies, want 7", got)
	}
	checkTopic(t, k, promised)
}

// TestEndlessBody: who goes on sending gets no further.
func TestEndlessBody(t *testing.T) {
	r := start(t, startKafka(t), nil)
	for name, first := range map[string]string{"a source": good, "nobody": "POST /hooks/nobody HTTP/1.1"} {
		w := dial(t, r)
		before := r.read.Load()
		r.sent.Add(1)
		raw := head(first, []string{"Transfer-Encoding: chunked"}, "")
		var err error
		chunk := []byte("1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n")
		for sent := 0; err == nil; sent += len(raw) {
			if sent > 64<<20 {
				t.Fatalf("64 MiB were sent to %s", name)
			}
			_, err = w.Write(raw)
			raw = chunk
		}
		if n := r.read.Load() - before; n > relay.DefaultMaxBody+someKB {
			t.Errorf("%d bytes were read of what was sent to %s", n, name)
		}
	}
	want := map[string]float64{"body_too_large": 1, "unknown_source": 1}
	if got := r.outcomes(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

// TestUnknownSourceIsNotRead: the answer comes before the body.
func TestUnknownSourceIsNotRead(t *testing.T) {
	r := start(t, startKafka(t), nil)
	for _, line := range []string{"Content-Length: 1000000000", "Transfer-Encoding: chunked"} {
		a := r.ask(t, head("POST /hooks/nobody HTTP/1.1", []string{line}, ""))
		if a.status != 404 || a.code(t) != "unknown_source" {
			t.Errorf("%s: %v, want 404 before the body", line, a)
		}
	}
	if n := r.read.Load(); n > 1000 {
		t.Errorf("%d bytes were read of two short headers", n)
	}
}

// TestHeaderLimit: many headers are fine, too many bytes are not.
func TestHeaderLimit(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, nil)
	src := demoSource(t)
	many := func(n int, line string) (lines []string) {
		for range n {
			lines = append(lines, line)
		}
		return lines
	}
	a := r.ask(t, request(t, src, "msg_1", "{}", many(10_000, "a:b")...))
	if a.status != 200 {
		t.Fatalf("10,000 headers in 50 KB: %v, want 200", a)
	}
	n := 0
	for _, h := range readTopic(t, k, topicName)[0].Headers {
		if h.Key == "http_a" && string(h.Value) == "b" {
			n++
		}
	}
	if n != 10_000 {
		t.Errorf("the record has %d of 10,000 headers", n)
	}
	for name, lines := range map[string][]string{
		"10,000 headers in 150 KB": many(10_000, "abcdef: ghijkl"),
		"one of 1 MiB":             {"X: " + strings.Repeat("x", 1<<20)},
		"1 MiB in lines of 1 KiB":  many(1024, "X: "+strings.Repeat("x", 1019)),
	} {
		a := r.ask(t, request(t, src, "msg_2", "{}", lines...))
		if a.status != 431 || a.code(t) != "headers_too_large" || !a.close {
			t.Errorf("%s: %v, closing %v, want 431 and closing", name, a, a.close)
		}
	}
	a = r.ask(t, head("POST /hooks/demo?"+strings.Repeat("x", 100<<10)+" HTTP/1.1", nil, ""))
	if a.status != 431 {
		t.Errorf("a target of 100 KiB: %v, want 431", a)
	}
}

// TestAnnouncedBodiesTakeNoMemory: a length in a header is a claim, and costs
// its sender nothing.
func TestAnnouncedBodiesTakeNoMemory(t *testing.T) {
	r := start(t, startKafka(t), func(o *relay.Options) { o.Sources[0].MaxBody = 8 << 20 })
	raw := head(good, []string{"Content-Length: 8000000"}, "{")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		w := dial(t, r)
		r.sent.Add(1)
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		if got, want := r.read.Load(), int64(100*len(raw)); got != want {
			return fmt.Errorf("%d bytes were read, want %d", got, want)
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 50 {
		t.Errorf("100 requests of a few bytes that announce 8 MB took %d MiB", n)
	}
	if a := r.post(t, demoSource(t), "msg_1", "{}"); a.status != 200 {
		t.Errorf("a good request got %v", a)
	}
}

// TestInFlightBytes: bodies that are arriving count, one too many is refused at
// once, and there is room again when they are gone.
func TestInFlightBytes(t *testing.T) {
	r := start(t, startKafka(t), func(o *relay.Options) {
		o.Limits.InFlightBytes = 256 << 10
		o.Limits.HeaderBytes = 4 << 10
		o.Sources[0].MaxBody = 200 << 10
	})
	src := demoSource(t)
	w := dial(t, r)
	r.sent.Add(2)
	partial := head(good, []string{"Content-Length: 204800"}, strings.Repeat("x", 200_000))
	if _, err := w.Write(partial); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := r.read.Load(); n < int64(len(partial)) {
			return fmt.Errorf("%d bytes were read, want %d", n, len(partial))
		}
		return nil
	})
	body := strings.Repeat("x", 100<<10)
	second := dial(t, r)
	a, err := second.exchange(request(t, src, "msg_1", body))
	if err != nil || a.status != 503 || a.code(t) != "overloaded" || a.header.Get("Retry-After") == "" {
		t.Errorf("beyond the limit: %v, %v, want 503 overloaded with Retry-After", a, err)
	}
	if a := r.post(t, src, "msg_2", "{}"); a.status != 200 {
		t.Errorf("a small one beside: %v, want 200", a)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := r.post(t, src, "msg_1", body); a.status != 200 {
			return fmt.Errorf("when the first is gone: %v, want 200", a)
		}
		return nil
	})
	want := map[string]float64{"aborted": 1}
	if got := r.outcomes(t)["aborted"]; got != 1 {
		t.Errorf("outcomes %v, want %v", r.outcomes(t), want)
	}
}

// TestInFlightRequests: as many as may wait for the log do, the next is refused
// at once.
func TestInFlightRequests(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, func(o *relay.Options) {
		o.Limits.InFlight = 3
		o.Sources[0].Deadline = 20 * time.Second
	})
	src := demoSource(t)
	open := holdProduce(k)
	var waiting sync.WaitGroup
	for i := range 3 {
		raw := request(t, src, fmt.Sprint("msg_", i), "{}")
		waiting.Go(func() {
			if a, err := r.try(raw); err != nil || a.status != 200 {
				t.Errorf("one of three got %v, %v, want 200", a, err)
			}
		})
	}
	eventually(t, func() error {
		if n := r.Status().InFlight; n != 3 {
			return fmt.Errorf("%d in flight, want 3", n)
		}
		return nil
	})
	began := time.Now()
	if a := r.post(t, src, "msg_4", "{}"); a.status != 503 || a.code(t) != "overloaded" {
		t.Errorf("the fourth got %v, want 503 overloaded", a)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("the fourth waited %v", d)
	}
	open()
	waiting.Wait()
}

// TestConnectionLimit: one connection too many gets an answer like any other.
func TestConnectionLimit(t *testing.T) {
	r := start(t, startKafka(t), func(o *relay.Options) { o.Limits.Connections = 2 })
	src := demoSource(t)
	var open []*wire
	for i := range 2 {
		w := dial(t, r)
		r.sent.Add(1)
		if a, err := w.exchange(request(t, src, fmt.Sprint("msg_", i), "{}")); err != nil || a.status != 200 {
			t.Fatalf("connection %d got %v, %v", i, a, err)
		}
		open = append(open, w)
	}
	w := dial(t, r)
	r.sent.Add(1)
	a, err := w.read("POST") // before it asked
	if err != nil || a.status != 503 || a.code(t) != "overloaded" || a.header.Get("Retry-After") == "" || !a.close {
		t.Errorf("the third connection got %v, %v, want 503 overloaded", a, err)
	}
	if err := open[0].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		a, err := r.try(request(t, src, "msg_3", "{}"))
		if err != nil || a.status != 200 {
			return fmt.Errorf("when one is gone: %v, %v, want 200", a, err)
		}
		return nil
	})
}

// TestAcceptGoesOn: an error of accept passes.
func TestAcceptGoesOn(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := relay.NewListener(&failingListener{Listener: inner, fail: 3}, 10, nil)
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatalf("Accept = %v after errors that pass", err)
	}
	_ = accepted.Close()
	failing := relay.NewListener(&failingListener{Listener: inner, fail: 1 << 30}, 10, nil)
	ended := make(chan error)
	go func() {
		_, err := failing.Accept()
		ended <- err
	}()
	if err := errors.Join(failing.Close(), failing.Close()); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v after Close, want net.ErrClosed", err)
	}
}

type failingListener struct {
	net.Listener
	fail int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.fail--; l.fail >= 0 {
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}
