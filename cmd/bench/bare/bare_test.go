package bare_test

import (
	"context"
	"crypto/sha256"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hooklog/cmd/bench/bare"
	"hooklog/cmd/bench/load"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		// fasthttp does not wait for these two: one looks every 10 s whether
		// its server has stopped, one keeps the date while the program lives.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// The limit is only worth something if it does the work: every answer of 200
// is a record with that key and a whole body.
func TestAcceptedEventsAreInTheLog(t *testing.T) {
	const secret, other = "whsec_dGVzdCBzZWNyZXQgb2YgdGhlIGxvYWQ=", "whsec_YW5vdGhlciBzZWNyZXQ="
	const events, size, topic = 300, 1000, "bare"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // The one result of Run.
	go func() {
		ended <- bare.Run(ctx, bare.Options{Listen: address, Brokers: cluster.ListenAddrs(), Topic: topic, Partitions: 3, Secret: secret})
	}()
	awaitListener(t, address)

	run := func(secret string) *load.Result {
		t.Helper()
		batch, err := load.Sign(secret, events, size)
		if err != nil {
			t.Fatal(err)
		}
		result, err := load.Run(t.Context(), load.Options{Address: address, Path: "/hooks/bench", Connections: 16, Timeout: 10 * time.Second}, batch, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	if r := run(secret); r.Accepted != events || r.Errors() != 0 {
		t.Errorf("result %+v, want %d accepted", r, events)
	}
	if r := run(other); r.Statuses[401] != events {
		t.Errorf("statuses %v with another secret, want %d of 401", r.Statuses, events)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}

	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ids, bodies := map[string]bool{}, map[[32]byte]bool{}
	for n := 0; n < events; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %d of %d records: %v", n, events, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			ids[string(r.Key)] = true
			bodies[sha256.Sum256(r.Value)] = true
			if len(r.Value) != size {
				t.Errorf("record %s has %d bytes, want %d", r.Key, len(r.Value), size)
			}
		})
	}
	if len(ids) != events || len(bodies) < 2 {
		t.Errorf("read %d IDs and %d bodies, want %d and several", len(ids), len(bodies), events)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func awaitListener(t *testing.T, address string) {
	t.Helper()
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		var conn net.Conn
		if conn, last = net.Dial("tcp", address); last == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens on %s: %v", address, last)
}
