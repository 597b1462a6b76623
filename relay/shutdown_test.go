package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay"
)

// TestShutdownUnderLoad: everything that got a 2xx is in the log, and everybody
// gets an answer or a closed connection, not silence.
func TestShutdownUnderLoad(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, nil)
	src := demoSource(t)
	var mu sync.Mutex
	promised := make(map[string]string)
	var accepted, ended atomic.Int64
	var senders sync.WaitGroup
	for s := range 16 {
		senders.Go(func() {
			w, err := tryDial(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			for i := 0; ; i++ {
				id := fmt.Sprintf("msg_%d_%d", s, i)
				a, err := w.exchange(request(t, src, id, bodyOf(i)))
				switch {
				case err != nil:
					var timeout net.Error
					if errors.As(err, &timeout) && timeout.Timeout() {
						t.Errorf("%s: %v", id, err)
					}
					return
				case a.status == 503:
					ended.Add(1)
					return
				case a.status != 200:
					t.Errorf("%s: %v, want 200 or 503", id, a)
					return
				}
				accepted.Add(1)
				mu.Lock()
				promised[id] = a.place(t)
				mu.Unlock()
			}
		})
	}
	eventually(t, func() error {
		if n := accepted.Load(); n < 500 {
			return fmt.Errorf("%d accepted", n)
		}
		return nil
	})
	stop(t, r)
	senders.Wait()
	r.sent.Store(int64(total(r.outcomes(t)))) // the last request of a sender may have met a closed connection
	if got := r.outcomes(t)["accepted"]; got < float64(accepted.Load()) {
		t.Errorf("%v counted as accepted, %d were told so", got, accepted.Load())
	}
	checkTopic(t, k, promised)
}

// TestShutdownAnswers: requests in flight are answered, the port is closed at
// once, and connections on which nothing was sent hold nothing up.
func TestShutdownAnswers(t *testing.T) {
	k := startKafka(t)
	r := start(t, k, func(o *relay.Options) { o.Sources[0].Deadline = 20 * time.Second })
	open := holdProduce(k)
	silent, idle := dial(t, r), dial(t, r)
	r.sent.Add(1)
	if a, err := idle.exchange(head("GET /hooks/demo HTTP/1.1", nil, "")); err != nil || a.status != 405 {
		t.Fatalf("%v, %v", a, err)
	}
	answers := make(chan response, 4)
	for i := range 4 {
		raw := request(t, demoSource(t), fmt.Sprint("msg_", i), bodyOf(i))
		go func() {
			a, err := r.try(raw)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	eventually(t, func() error {
		if n := r.Status().InFlight; n != 4 {
			return fmt.Errorf("%d in flight", n)
		}
		return nil
	})
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	eventually(t, func() error {
		w, err := tryDial(r)
		if err == nil {
			_ = w.Close()
			return errors.New("the port is still open")
		}
		return nil
	})
	began := time.Now()
	for name, w := range map[string]*wire{"silent": silent, "idle": idle} {
		if _, err := w.br.ReadByte(); err == nil {
			t.Errorf("the %s connection says something", name)
		}
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("connections without a request stayed open for %v", d)
	}
	if ok, _ := r.Ready(); ok {
		t.Error("ready while shutting down")
	}
	open()
	promised := make(map[string]string)
	for range 4 {
		a := <-answers
		if a.status != 200 || !a.close {
			t.Fatalf("in flight: %v, closing %v, want 200 and closing", a, a.close)
		}
		promised[strings.Split(a.body, `"`)[3]] = a.place(t)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	checkTopic(t, k, promised)
}

// askAll sends n events at the same moment and waits until each has its claim.
func (r *testRelay) askAll(t *testing.T, n int) <-chan response {
	t.Helper()
	answers := make(chan response, n)
	for i := range n {
		raw := request(t, demoSource(t), fmt.Sprint("msg_", i), bodyOf(1))
		go func() {
			a, err := r.try(raw)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	eventually(t, func() error {
		if held := r.Status().Claims; held != n {
			return fmt.Errorf("%d claims, want %d", held, n)
		}
		return nil
	})
	return answers
}

// TestShutdownWithoutBrokers: there is an end all the same, who waits is told
// 503, and Run says what was left.
func TestShutdownWithoutBrokers(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	dir := filepath.Join(t.TempDir(), "index")
	at := func(o *relay.Options) {
		n.through(o)
		o.Sources[0].Deadline = time.Minute
		o.Dir = dir
	}
	r := newRelay(t, k, at)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.awaitReady(t)
	open := holdProduce(k)
	defer open()
	const waiting = 100
	answers := r.askAll(t, waiting)
	began := time.Now()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run = %v, want nil: nothing that was acknowledged is lost", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run did not end")
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("Run ended after %v", d)
	}
	for range waiting {
		if a := <-answers; a.status != 503 || a.code(t) != "log_unavailable" {
			t.Errorf("who waited got %v, want 503 log_unavailable", a)
		}
	}
	r.checkCounts(t)
	// What the broker does with it later is known to the next relay.
	open()
	next := start(t, k, at)
	p := &promises{places: make(map[string]string)}
	for i := range waiting {
		p.insist(t, next, fmt.Sprint("msg_", i))
	}
	checkTopic(t, k, p.places)
}

// TestShutdownWhileStarting: there need not be brokers to end.
func TestShutdownWhileStarting(t *testing.T) {
	for name, cut := range map[string]func(n *network){
		"brokers refuse":     func(n *network) { n.set(true) },
		"brokers are silent": func(n *network) { n.silent.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			k := startKafka(t)
			var n network
			cut(&n)
			r := startUnready(t, k, n.through)
			if a := r.post(t, demoSource(t), "msg_1", bodyOf(1)); a.status != 503 || a.code(t) != "not_ready" {
				t.Errorf("%v, want 503 not_ready", a)
			}
			stop(t, r)
		})
	}
}

// TestListenerEnds: a relay that nobody can reach ends.
func TestListenerEnds(t *testing.T) {
	k := startKafka(t)
	r := newRelay(t, k, nil)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context()) }()
	r.awaitReady(t)
	if err := r.port.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "listener") {
			t.Errorf("Run = %v, want it to name the listener", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run goes on without a listener")
	}
}

// TestOptionsRefused: New says what cannot work.
func TestOptionsRefused(t *testing.T) {
	ok := demoSource(t)
	for want, change := range map[string]func(o *relay.Options){
		"no verifier":     func(o *relay.Options) { o.Sources[0].Verifier = nil },
		"unverified":      func(o *relay.Options) { o.Sources[0].Unverified = true },
		"no topic":        func(o *relay.Options) { o.Sources[0].Topic = "" },
		"declared twice":  func(o *relay.Options) { o.Sources = append(o.Sources, ok) },
		"not 2xx":         func(o *relay.Options) { o.Sources[0].Response = &relay.Response{Status: 302} },
		"negative":        func(o *relay.Options) { o.Sources[0].MaxBody = -1 },
		"does not match":  func(o *relay.Options) { o.Sources[0].Name = "_unknown" },
		"in_flight_bytes": func(o *relay.Options) { o.Sources[0].MaxBody = 1 << 30 },
	} {
		o := relay.Options{Sources: []relay.Source{ok}, Client: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")}}
		change(&o)
		if _, err := relay.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want an error with %q", err, want)
		}
	}
}
