package relay_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hooklog/relay"
	"hooklog/relay/preset"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp keeps the time for its Date headers as long as the process
		// lives, and looks after idle workers for 10 s more than its server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

const (
	secretText = "whsec_dGhlIHNlY3JldCBvZiB0aGUgcmVsYXkncyB0ZXN0cw=="
	topicName  = "webhooks"
)

// testRelay is a relay under test.
type testRelay struct {
	*relay.Server
	addr     string
	port     net.Listener
	registry *prometheus.Registry
	sent     atomic.Int64 // requests, for the books
	read     atomic.Int64 // bytes that the relay has read of its connections
	ended    chan error
	stop     func() error // shuts down and returns what Run returned
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func startKafka(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// demoSource is a source as most are.
func demoSource(t testing.TB) relay.Source {
	t.Helper()
	return presetSource(t, "standard-webhooks", "demo", secretText)
}

func presetSource(t testing.TB, presetName string, name schemas.SourceName, secrets ...string) relay.Source {
	t.Helper()
	p, ok := preset.Lookup(presetName)
	if !ok {
		t.Fatalf("no preset %q", presetName)
	}
	list := make([]signature.Secret, len(secrets))
	for i, s := range secrets {
		list[i] = signature.Secret{Value: signature.NewSecretValue(s)}
	}
	v, err := signature.New(p.Scheme, list, 0)
	if err != nil {
		t.Fatalf("preset %s: %v", presetName, err)
	}
	return relay.Source{Name: name, Verifier: v, ID: p.ID, Type: p.Type, Time: p.Time, Topic: topicName}
}

// start runs a relay until the test ends or stop is called, and waits until it
// is ready.
func start(t testing.TB, cluster *kfake.Cluster, change func(*relay.Options)) *testRelay {
	t.Helper()
	r := startUnready(t, cluster, change)
	r.awaitReady(t)
	return r
}

func (r *testRelay) awaitReady(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		select {
		case err := <-r.ended:
			r.ended <- err
			t.Fatalf("the relay ended: %v", err)
		default:
		}
		if ok, reason := r.Ready(); !ok {
			return errors.New(reason)
		}
		return nil
	})
}

func startUnready(t testing.TB, cluster *kfake.Cluster, change func(*relay.Options)) *testRelay {
	t.Helper()
	r := newRelay(t, cluster, change)
	r.run(t)
	return r
}

// newRelay makes a relay that has its port and does not run yet.
func newRelay(t testing.TB, cluster *kfake.Cluster, change func(*relay.Options)) *testRelay {
	t.Helper()
	r := &testRelay{registry: prometheus.NewRegistry(), ended: make(chan error, 1)}
	o := relay.Options{
		Sources:    []relay.Source{demoSource(t)},
		Dir:        filepath.Join(t.TempDir(), "index"),
		Client:     []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)},
		Registerer: r.registry,
		Logger:     testLogger(t),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.Server, err = relay.New(o); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Serve(countingListener{l, &r.read})
	r.addr, r.port = l.Addr().String(), l
	return r
}

// countingListener counts what is read of its connections.
type countingListener struct {
	net.Listener
	read *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.read}, err
}

type countingConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// run starts the relay. When the test ends the books are checked and the relay
// is stopped.
func (r *testRelay) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx) }()
	var result error
	stopped := false
	r.stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			select {
			case result = <-r.ended:
			case <-time.After(40 * time.Second):
				result = errors.New("the relay did not stop within 40 s")
			}
		}
		return result
	}
	t.Cleanup(func() {
		if !stopped && !t.Failed() {
			r.checkSettled(t)
		}
		if err := r.stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		r.checkCounts(t)
	})
}

// checkSettled waits until nothing is held or in doubt any more.
func (r *testRelay) checkSettled(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		if st := r.Status(); st.InFlight+int64(st.Claims)+int64(st.InDoubt) != 0 {
			return fmt.Errorf("in flight %d, claims %d, in doubt %d, want none", st.InFlight, st.Claims, st.InDoubt)
		}
		return nil
	})
}

// checkCounts compares the requests that were sent with the outcomes that were
// counted: each has exactly one, and none is a bug of ours.
func (r *testRelay) checkCounts(t testing.TB) {
	t.Helper()
	counted := 0.0
	for labels, n := range r.counts(t, "hooklog_relay_requests_total") {
		counted += n
		if labels.outcome == "internal" && n > 0 {
			t.Errorf("source %s has %v internal outcomes, want none", labels.source, n)
		}
	}
	if sent := r.sent.Load(); counted != float64(sent) {
		t.Errorf("%d requests were sent, %v outcomes counted: %v", sent, counted, r.outcomes(t))
	}
}

type labels struct{ source, outcome string }

// counts are the values of a counter by its labels source and outcome.
func (r *testRelay) counts(t testing.TB, name string) map[labels]float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[labels]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var l labels
			for _, p := range m.GetLabel() {
				switch p.GetName() {
				case "source":
					l.source = p.GetValue()
				case "outcome", "result":
					l.outcome = p.GetValue()
				}
			}
			out[l] += m.GetCounter().GetValue()
		}
	}
	return out
}

// outcomes are the counts of all sources together, where not zero.
func (r *testRelay) outcomes(t testing.TB) map[string]float64 {
	out := make(map[string]float64)
	for l, n := range r.counts(t, "hooklog_relay_requests_total") {
		if n > 0 {
			out[l.outcome] += n
		}
	}
	return out
}

// eventually polls until f returns nil, and fails with what it last said.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %v", err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// readTopic returns all records of a topic, in order of partition and offset.
func readTopic(t testing.TB, cluster *kfake.Cluster, topic string, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	want := 0
	for p := int32(0); ; p++ {
		info := cluster.PartitionInfo(topic, p)
		if info == nil {
			break
		}
		want += int(info.HighWatermark - info.LogStartOffset)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var out []*kgo.Record
	for len(out) < want {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %d of %d records of %s: %v", len(out), want, topic, err)
		}
		out = append(out, fs.Records()...)
	}
	slices.SortFunc(out, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return out
}

// checkTopic compares a topic with what was promised: each event that got a
// 2xx is there, at the place that was named, and none is there twice. Events
// that got none may be there.
func checkTopic(t testing.TB, cluster *kfake.Cluster, promised map[string]string) {
	t.Helper()
	places := make(map[string]string)
	for _, rec := range readTopic(t, cluster, topicName) {
		at := schemas.Position{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset}.String()
		if first, twice := places[string(rec.Key)]; twice {
			t.Errorf("event %s is in the topic at %s and %s", rec.Key, first, at)
		}
		places[string(rec.Key)] = at
	}
	for id, place := range promised {
		if places[id] != place {
			t.Errorf("event %s was promised at %s, it is at %q", id, place, places[id])
		}
	}
}

func bodyOf(i int) string {
	return fmt.Sprintf(`{"type":"payment.succeeded","timestamp":"2026-01-02T03:04:05Z","data":{"amount":%d}}`, i)
}
