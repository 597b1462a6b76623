package relay_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"hooklog/relay"
	"hooklog/schemas"
)

// lines is a log to look at.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// TestOutcomes: each has a code, a status and a title of its own, and one
// status for each code, as the public contract says.
func TestOutcomes(t *testing.T) {
	want := map[string]int{
		"internal": 500, "accepted": 200, "duplicate": 200, "spooled": 200, "handshake": 200, "aborted": 400,
		"bad_request": 400, "missing_signature": 401, "bad_signature": 401, "stale_timestamp": 401,
		"handshake_refused": 403, "unknown_source": 404, "method_not_allowed": 405, "request_timeout": 408,
		"body_too_large": 413, "headers_too_large": 431, "rate_limited": 429,
		"overloaded": 503, "log_unavailable": 503, "spool_full": 503, "not_ready": 503, "verifier_unavailable": 503,
	}
	titles := make(map[string]relay.Outcome)
	for _, o := range relay.Outcomes() {
		status, known := want[o.String()]
		if !known || o.Status() != status {
			t.Errorf("outcome %d is %q with status %d, want %d (known: %v)", o, o, o.Status(), status, known)
		}
		delete(want, o.String())
		if other, taken := titles[o.Title()]; taken || o.Title() == "" {
			t.Errorf("%v has the title %q, as %v has", o, o.Title(), other)
		}
		titles[o.Title()] = o
		if got, want := o.IsBug(), o == relay.Internal; got != want {
			t.Errorf("%v is a bug: %v, want %v", o, got, want)
		}
		if got, want := o.Durable(), strings.Contains("accepted duplicate spooled", o.String()); got != want {
			t.Errorf("%v is durable: %v, want %v", o, got, want)
		}
		if o.Status() >= 400 {
			checkRefusal(t, o)
		}
	}
	if len(want) > 0 {
		t.Errorf("there are no outcomes %v", want)
	}
	if relay.Outcome(0) != relay.Internal {
		t.Error("a path that forgets its outcome must count as internal")
	}
}

func checkRefusal(t *testing.T, o relay.Outcome) {
	t.Helper()
	resp := relay.Refusal(o, `some "detail" <é`)
	var v struct {
		Status              int
		Title, Code, Detail string
	}
	if err := json.Unmarshal(resp.Body(), &v); err != nil {
		t.Errorf("%v: %v", o, err)
	}
	if resp.StatusCode() != o.Status() || v.Status != o.Status() || v.Title != o.Title() || v.Code != o.String() || v.Detail != `some "detail" <é` {
		t.Errorf("%v is answered with %d %+v", o, resp.StatusCode(), v)
	}
	retry := string(resp.Header.Peek("Retry-After"))
	if waits := o.Status() == 503 || o.Status() == 429; waits != regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(retry) {
		t.Errorf("%v has Retry-After %q", o, retry)
	}
	if allow := string(resp.Header.Peek("Allow")); (o == relay.MethodNotAllowed) != (allow == "POST") {
		t.Errorf("%v has Allow %q", o, allow)
	}
}

// TestEventAnswer: whatever the ID is, the answer is JSON that says so.
func TestEventAnswer(t *testing.T) {
	pos := schemas.Position{Topic: "web.hooks", Partition: 7, Offset: 1 << 40}
	for _, id := range []string{
		"msg_1", "", `a"b`, `a\b`, "a/b", "tab\t", "new\nline", "\x00", "\x7f", "é☃😀", "</script>&", "\u2028", strings.Repeat("x", 512),
	} {
		for _, o := range []relay.Outcome{relay.Accepted, relay.Duplicate, relay.Spooled} {
			text := relay.EventAnswer(o, "demo", schemas.EventID(id), pos)
			var v map[string]any
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Errorf("%q: %v in %s", id, err, text)
				continue
			}
			want := map[string]any{"id": id, "source": "demo", "outcome": o.String()}
			if o != relay.Spooled {
				want["topic"], want["partition"], want["offset"] = "web.hooks", 7.0, float64(1<<40)
			}
			if fmt.Sprint(v) != fmt.Sprint(want) || !strings.HasSuffix(text, "}\n") {
				t.Errorf("%q: %q, want %v", id, text, want)
			}
		}
	}
}

func TestRedactTarget(t *testing.T) {
	f := func(target, want string) {
		t.Helper()
		if got := relay.RedactTarget(target); got != want {
			t.Errorf("redactTarget(%q) = %q, want %q", target, got, want)
		}
	}
	f("/hooks/demo", "/hooks/demo")
	f("/hooks/demo?", "/hooks/demo?")
	f("/hooks/demo?a=1&b=2", "/hooks/demo?a=1&b=2")
	f("/hooks/demo?token=x", "/hooks/demo?token=REDACTED")
	f("/hooks/demo?token=x=y?z&b", "/hooks/demo?token=REDACTED&b")
	f("/hooks/demo?token", "/hooks/demo?token")
	f("/hooks/demo?token=", "/hooks/demo?token=REDACTED")
	f("/hooks/demo?a=1&TOKEN=x&Api_Key=y&sig=z", "/hooks/demo?a=1&TOKEN=REDACTED&Api_Key=REDACTED&sig=REDACTED")
	f("/hooks/demo?%74oken=x", "/hooks/demo?%74oken=REDACTED")
	f("/hooks/demo?%7=x&token=y", "/hooks/demo?%7=x&token=REDACTED")
	f("/hooks/demo?tokens=x&my_token_id=1", "/hooks/demo?tokens=x&my_token_id=1")
	f("/hooks/demo?a=http://u:p@h/", "/hooks/demo?a=http://u:p@h/")
	f("http://h/hooks/demo", "http://h/hooks/demo")
	f("http://u:p@h/hooks/demo?a", "http://REDACTED@h/hooks/demo?a")
	f("http://u:p@h?token=x", "http://REDACTED@h?token=REDACTED")
	f("http://u:p@x@h/", "http://REDACTED@h/")
	f("http://h/a@b", "http://h/a@b")
	f("*", "*")
	f("", "")
}

func TestRefusalOf(t *testing.T) {
	small := &fasthttp.ErrSmallBuffer{}
	broken := fasthttp.ErrBrokenChunk{}
	for _, c := range []struct {
		err, read error
		want      relay.Outcome
	}{
		{small, nil, relay.HeadersTooLarge},
		{fmt.Errorf("wrapped: %w", small), io.EOF, relay.HeadersTooLarge},
		{broken, nil, relay.BadRequest},
		{errors.New("malformed"), nil, relay.BadRequest},
		{broken, os.ErrDeadlineExceeded, relay.RequestTimeout},
		{errors.New("hidden"), &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, relay.RequestTimeout},
		{broken, io.EOF, relay.Aborted},
		{io.ErrUnexpectedEOF, io.EOF, relay.Aborted},
		{errors.New("hidden"), &net.OpError{Op: "read", Err: errors.New("connection reset")}, relay.Aborted},
	} {
		if got := relay.RefusalOf(c.err, c.read); got != c.want {
			t.Errorf("%v after %v is %v, want %v", c.err, c.read, got, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	l := relay.NewLoad(2, 100)
	check := func(requests, bytes int64) {
		t.Helper()
		if r, b := l.Held(); r != requests || b != bytes {
			t.Errorf("%d requests of %d bytes are in, want %d of %d", r, b, requests, bytes)
		}
	}
	first := l.Enter(60)
	if first == nil {
		t.Fatal("an empty load is full")
	}
	if l.Enter(41) != nil {
		t.Error("101 of 100 bytes are in")
	}
	check(1, 60)
	second := l.Enter(40)
	if second == nil {
		t.Fatal("100 of 100 bytes are not taken")
	}
	if l.Enter(0) != nil {
		t.Error("3 of 2 requests are in")
	}
	check(2, 100)
	first()
	second()
	check(0, 0)

	var all sync.WaitGroup
	l = relay.NewLoad(8, 1000)
	for range 64 {
		all.Go(func() {
			for range 200 {
				if leave := l.Enter(150); leave != nil {
					if r, b := l.Held(); r < 1 || b < 150 {
						t.Errorf("%d requests of %d bytes while one is in", r, b)
					}
					leave()
				}
			}
		})
	}
	all.Wait()
	check(0, 0)
}

func TestThrottle(t *testing.T) {
	var log lines
	warn := relay.NewThrottle(log.logger(), 50*time.Millisecond)
	for range 10 {
		warn("one", "k", "v")
	}
	warn("two")
	if got := strings.Count(log.String(), "msg=one"); got != 1 || strings.Count(log.String(), "msg=two") != 1 {
		t.Errorf("the log says one %d times:\n%s", got, log.String())
	}
	eventually(t, func() error {
		warn("one", "k", "v")
		if !strings.Contains(log.String(), "held_back=") {
			return errors.New("not said again")
		}
		return nil
	})
	var held int
	last := log.String()[strings.LastIndex(log.String(), "held_back=")+len("held_back="):]
	if _, err := fmt.Sscan(last, &held); err != nil || held < 9 || !strings.Contains(log.String(), "k=v") {
		t.Errorf("%d were held back (%v), want 9 or more:\n%s", held, err, log.String())
	}
}
