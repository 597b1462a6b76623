package admin_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hooklog/cmd/internal/admin"
)

// A load balancer learns of the end before the ports close.
func TestDrain(t *testing.T) {
	s := admin.New(admin.Options{Listen: "127.0.0.1:0", Components: []admin.Component{&component{name: "relay"}}})
	url := serve(t, s)
	f := func(path string, wantStatus int, want string) {
		t.Helper()
		if status, body := do(t, "GET", url+path); status != wantStatus || strings.TrimSpace(body) != want {
			t.Errorf("%s: got %d %s, want %d %s", path, status, body, wantStatus, want)
		}
	}
	f("/readyz", 200, `{"ready":true}`)
	s.Drain()
	f("/readyz", 503, `{"ready":false,"reasons":[{"component":"process","reason":"shutting down"}]}`)
	f("/livez", 200, `{"live":true}`)
}

func serve(t *testing.T, s *admin.Server) (url string) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		http.DefaultClient.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("run: got %v, want nil", err)
		}
	})
	return "http://" + s.Addr().String()
}

func TestOnlyReads(t *testing.T) {
	url := serve(t, admin.New(admin.Options{Listen: "127.0.0.1:0"}))
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/api/v1/status", "/debug/pprof/", "/debug/pprof/symbol", "/nothing"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "ODD"} {
			req, err := http.NewRequestWithContext(t.Context(), method, url+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if allow := resp.Header.Get("Allow"); resp.StatusCode != 405 || allow != "GET, HEAD" {
				t.Errorf("%s %s: got %d with Allow %q, want 405 with %q", method, path, resp.StatusCode, allow, "GET, HEAD")
			}
		}
	}
}

// Secrets on the command line are not shown.
func TestProfiles(t *testing.T) {
	url := serve(t, admin.New(admin.Options{Listen: "127.0.0.1:0"}))
	for path, want := range map[string]int{
		"heap": 200, "goroutine?debug=2": 200, "profile?seconds=1": 200, "trace?seconds=0.01": 200,
		"cmdline": 404, "nothing": 404,
	} {
		if status, body := do(t, "GET", url+"/debug/pprof/"+path); status != want || body == "" {
			t.Errorf("%s: got %d with %d bytes, want %d with some", path, status, len(body), want)
		}
	}
}

func TestWithoutMetrics(t *testing.T) {
	url := serve(t, admin.New(admin.Options{Listen: "127.0.0.1:0"}))
	if status, body := do(t, "GET", url+"/metrics"); status != 200 || body != "" {
		t.Errorf("metrics without a gatherer: got %d %q, want 200 and nothing", status, body)
	}
}

type badStatus struct{ component }

func (*badStatus) Status() any { return make(chan int) }

func TestStatusThatIsNoJSON(t *testing.T) {
	var log syncBuffer
	url := serve(t, admin.New(admin.Options{
		Listen: "127.0.0.1:0", Components: []admin.Component{&badStatus{component{name: "bad"}}},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}))
	if status, _ := do(t, "GET", url+"/api/v1/status"); status != 500 || !strings.Contains(log.String(), "chan int") {
		t.Errorf("got %d and the log %q, want 500 and the cause in the log", status, log.String())
	}
}

func TestOrderOfUse(t *testing.T) {
	s := admin.New(admin.Options{Listen: "127.0.0.1:0"})
	if s.Addr() != nil {
		t.Errorf("address before listen: got %v, want nil", s.Addr())
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("run before listen: got nil, want an error")
	}
	if err := s.Close(); err != nil {
		t.Errorf("close before listen: got %v, want nil", err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	}
	ln, err := net.Listen("tcp", s.Addr().String())
	if err != nil {
		t.Fatalf("the port is not free after close: %v", err)
	}
	ln.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("run after close: got nil, want an error")
	}
}

// A trace that is being taken ends with the process, within its answer.
func TestEndsProfilesAtOnce(t *testing.T) {
	s := admin.New(admin.Options{Listen: "127.0.0.1:0"})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /debug/pprof/trace?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Fatalf("answer: got %q, %v", answer, err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: got %v, want nil", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("run did not end")
	}
	rest, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(rest, []byte("0\r\n\r\n")) {
		t.Errorf("the answer was cut off after %d bytes: %v", len(rest), err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
