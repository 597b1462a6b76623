package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"hooklog/cmd/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type component struct {
	name   string
	reason atomic.Pointer[string]
}

func (c *component) Name() string { return c.name }
func (c *component) Status() any  { return map[string]int{"claims": 3} }
func (c *component) Ready() (bool, string) {
	if r := c.reason.Load(); r != nil {
		return false, *r
	}
	return true, ""
}

func start(t *testing.T, components ...admin.Component) (url string, stop func() error) {
	t.Helper()
	return startWith(t, admin.Options{Components: components})
}

// startWith runs a server with a metric until the test ends or stop is called.
func startWith(t *testing.T, o admin.Options) (url string, stop func() error) {
	t.Helper()
	reg := prometheus.NewRegistry()
	count := prometheus.NewCounter(prometheus.CounterOpts{Name: "hooklog_test_total", Help: "Test."})
	count.Add(7)
	reg.MustRegister(count)
	o.Listen, o.Gatherer, o.Version = "127.0.0.1:0", reg, "v1.2.3"
	s := admin.New(o)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		http.DefaultClient.CloseIdleConnections()
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("did not stop")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return "http://" + s.Addr().String(), stop
}

func do(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestReadiness(t *testing.T) {
	relay, group := &component{name: "relay"}, &component{name: "group/orders"}
	url, _ := start(t, relay, group)
	f := func(wantStatus int, want string) {
		t.Helper()
		status, body := do(t, "GET", url+"/readyz")
		if status != wantStatus || strings.TrimSpace(body) != want {
			t.Errorf("readyz: got %d %s, want %d %s", status, body, wantStatus, want)
		}
		if status, _ := do(t, "GET", url+"/livez"); status != 200 {
			t.Errorf("livez: got %d, want 200 whatever is ready", status)
		}
	}
	f(200, `{"ready":true}`)
	why := "The index is catching up."
	relay.reason.Store(&why)
	f(503, `{"ready":false,"reasons":[{"component":"relay","reason":"The index is catching up."}]}`)
	relay.reason.Store(nil)
	f(200, `{"ready":true}`)
}

func TestStatus(t *testing.T) {
	url, _ := start(t, &component{name: "relay"})
	status, body := do(t, "GET", url+"/api/v1/status")
	var got struct {
		Version    string
		Started    time.Time
		Components map[string]map[string]int
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("status: got %d %s: %v", status, body, err)
	}
	if got.Version != "v1.2.3" || got.Components["relay"]["claims"] != 3 || time.Since(got.Started) > time.Minute {
		t.Errorf("status: got %+v", got)
	}
}

func TestEndpoints(t *testing.T) {
	url, _ := start(t)
	f := func(method, path string, want int, contains string) {
		t.Helper()
		status, body := do(t, method, url+path)
		if status != want || !strings.Contains(body, contains) {
			t.Errorf("%s %s: got %d %.200q, want %d and %q", method, path, status, body, want, contains)
		}
	}
	f("GET", "/metrics", 200, "hooklog_test_total 7")
	f("GET", "/debug/pprof/", 200, "goroutine")
	f("GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	f("HEAD", "/livez", 200, "")
	f("POST", "/livez", 405, "")
	f("POST", "/readyz", 405, "")
	f("DELETE", "/metrics", 405, "")
	f("GET", "/", 404, "")
	f("GET", "/api/v1/", 404, "")
}

func TestPortTaken(t *testing.T) {
	url, _ := start(t)
	s := admin.New(admin.Options{Listen: strings.TrimPrefix(url, "http://"), Gatherer: prometheus.NewRegistry()})
	if err := s.Listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen on a taken port: got %v, want EADDRINUSE", err)
	}
}

// TestStopsInTheMiddleOfAProfile: a long answer does not hold up the end.
func TestStopsInTheMiddleOfAProfile(t *testing.T) {
	url, stop := start(t)
	asked := make(chan struct{})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		close(asked)
		resp, err := http.Get(url + "/debug/pprof/trace?seconds=60")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
	<-asked
	begin := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stop took %v, want about a second", took)
	}
	<-answered
}
