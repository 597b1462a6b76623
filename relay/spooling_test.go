package relay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay"
	"hooklog/schemas"
)

// spooling makes a relay's source spool, in dir.
func spooling(dir string, n *network) func(*relay.Options) {
	return func(o *relay.Options) {
		n.through(o)
		o.Dir, o.SpoolDir = filepath.Join(dir, "index"), filepath.Join(dir, "spool")
		o.Sources[0].Outage = relay.OutageSpool
		o.Sources[0].Deadline = 500 * time.Millisecond
	}
}

// foreignRecord is an event of the demo source as another relay writes it.
func foreignRecord(id schemas.EventID, received time.Time) *kgo.Record {
	return schemas.Encode(&schemas.Event{
		ID: id, Source: "demo", Type: "test.made", Received: received, Scheme: "none",
		Method: "POST", Target: "/hooks/demo", Body: []byte(bodyOf(1)),
	}, topicName)
}

// serving starts a relay and waits until it takes events into the log: ready it
// is before that.
func serving(t *testing.T, k *kfake.Cluster, change func(*relay.Options)) *testRelay {
	t.Helper()
	r := startUnready(t, k, change)
	eventually(t, func() error {
		if f := r.Status().Follow; !f.CaughtUp {
			return fmt.Errorf("%+v, want it to catch up", f)
		}
		return nil
	})
	return r
}

func (r *testRelay) wantSpooled(t *testing.T, id string) {
	t.Helper()
	if a := r.post(t, demoSource(t), id, bodyOf(1)); a.status != 200 || a.code(t) != "spooled" || strings.Contains(string(a.body), "offset") {
		t.Errorf("%s: %v, want 200 spooled without a position", id, a)
	}
}

// awaitDrained waits until the spool is empty and checks its books: what was
// spooled was drained, or was found in the log.
func (r *testRelay) awaitDrained(t *testing.T, spooled int) {
	t.Helper()
	eventually(t, func() error {
		if st := r.SpoolStatus(); st.Events != 0 {
			return fmt.Errorf("%+v, want it empty", st)
		}
		return nil
	})
	one := func(name string) float64 {
		sum := 0.0
		for _, v := range r.counts(t, name) {
			sum += v
		}
		return sum
	}
	if drained, known := one("hooklog_spool_drained_total"), one("hooklog_spool_duplicates_total"); int(drained+known) != spooled {
		t.Errorf("%v drained and %v found in the log, want %d together", drained, known, spooled)
	}
}

// TestSpool: an outage under the feet of a source that spools. Events are kept,
// copies answered by what is kept, and all of it is in the log once afterwards.
func TestSpool(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := serving(t, k, spooling(t.TempDir(), &n))
	p := &promises{places: make(map[string]string)}
	p.insist(t, r, "msg_known")
	open := holdProduce(k)
	// The producer takes the first, and nothing more once the log is silent.
	for i := range 30 {
		began := time.Now()
		r.wantSpooled(t, fmt.Sprint("msg_", i))
		if d := time.Since(began); i == 0 && d < 400*time.Millisecond || d > 3*time.Second {
			t.Errorf("event %d was answered after %v", i, d)
		}
	}
	for i := range 30 {
		r.wantSpooled(t, fmt.Sprint("msg_", i)) // copies
	}
	if a := r.post(t, demoSource(t), "msg_known", bodyOf(1)); a.code(t) != "duplicate" {
		t.Errorf("a copy of what is in the log: %v, want a duplicate", a)
	}
	if ok, reason := r.Ready(); !ok {
		t.Errorf("not ready, %s: the spool has room", reason)
	}
	if st := r.SpoolStatus(); st.Events != 30 || st.OldestAgeSeconds <= 0 {
		t.Errorf("spool %+v, want 30 events of some age", st)
	}
	open()
	r.awaitDrained(t, 30)
	for i := range 30 {
		p.insist(t, r, fmt.Sprint("msg_", i))
	}
	if got := r.outcomes(t)["accepted"]; got != 1 {
		t.Errorf("%v accepted, want 1: all others were spooled before they were in the log", got)
	}
	checkTopic(t, k, p.places)
}

// TestSpoolRestart: what is in the spool when a relay stops is drained by the
// next one, once, also what the brokers had of it already.
func TestSpoolRestart(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	dir := t.TempDir()
	r := serving(t, k, spooling(dir, &n))
	open := holdProduce(k)
	for i := range 10 {
		r.wantSpooled(t, fmt.Sprint("msg_", i))
	}
	n.set(true)
	if err := r.stop(); err != nil {
		t.Fatalf("Run = %v, want nil", err)
	}
	open() // The record that the stopped relay had under way lands now.
	n.set(false)

	// The next one starts without brokers, and spools all the same.
	n.set(true)
	r = startUnready(t, k, spooling(dir, &n))
	eventually(t, func() error {
		if a := r.post(t, demoSource(t), "msg_10", bodyOf(1)); a.code(t) != "spooled" {
			return fmt.Errorf("%v, want spooled", a)
		}
		return nil
	})
	if ok, reason := r.Ready(); !ok {
		t.Errorf("not ready, %s: the spool has room", reason)
	}
	n.set(false)
	r.awaitDrained(t, 11)
	p := &promises{places: make(map[string]string)}
	for i := range 11 {
		p.insist(t, r, fmt.Sprint("msg_", i))
	}
	checkTopic(t, k, p.places)
}

// TestSpoolFull: what does not fit is refused, with a time to come back after.
func TestSpoolFull(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	with := spooling(t.TempDir(), &n)
	r := serving(t, k, func(o *relay.Options) {
		with(o)
		o.SpoolBytes = 8 << 10
	})
	open := holdProduce(k)
	kept := 0
	var last response
	for i := range 100 {
		last = r.post(t, demoSource(t), fmt.Sprint("msg_", i), bodyOf(1))
		if last.status != 200 {
			break
		}
		kept++
	}
	if last.status != 503 || last.code(t) != "spool_full" || last.header.Get("Retry-After") == "" || kept < 3 {
		t.Errorf("after %d events: %v, want 503 spool_full with Retry-After", kept, last)
	}
	if ok, _ := r.Ready(); ok {
		t.Error("ready, though the log is silent and the spool is full")
	}
	open()
	p := &promises{places: make(map[string]string)}
	for i := range kept + 5 {
		p.insist(t, r, fmt.Sprint("msg_", i))
	}
	r.awaitDrained(t, kept)
	checkTopic(t, k, p.places)
	r.awaitReady(t)
}

// TestSpoolKnown: an entry whose event another relay has written meanwhile is
// not written again.
func TestSpoolKnown(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	r := serving(t, k, spooling(t.TempDir(), &n))
	n.set(true)
	const events = 10
	for i := range events {
		r.wantSpooled(t, fmt.Sprint("msg_", i))
	}
	if st := r.SpoolStatus(); st.Waiting < events/2 {
		t.Fatalf("%+v: want most of them to wait", st)
	}
	foreign := foreignRecord("msg_9", time.Now())
	client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), foreign).FirstErr(); err != nil {
		t.Fatal(err)
	}
	n.set(false)
	r.awaitDrained(t, events)
	p := &promises{places: make(map[string]string)}
	for i := range events {
		p.insist(t, r, fmt.Sprint("msg_", i))
	}
	checkTopic(t, k, p.places)
}

// TestSpoolUnreadable: a spool that cannot be read stops the start.
func TestSpoolUnreadable(t *testing.T) {
	k := startKafka(t)
	dir := t.TempDir()
	var n network
	with := spooling(dir, &n)
	if err := os.MkdirAll(filepath.Join(dir, "spool", "entries"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "spool", "entries", "marker.manifest.000001.MANIFEST-000001"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, k, with)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(context.Background()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "move the folder away") {
			t.Errorf("Run = %v, want an error that says what to do", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run did not end")
	}
}

// TestSpoolAndReject: sources of one relay differ in what they do.
func TestSpoolAndReject(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	with := spooling(t.TempDir(), &n)
	other := presetSource(t, "standard-webhooks", "other", secretText)
	other.Deadline = 500 * time.Millisecond
	r := serving(t, k, func(o *relay.Options) {
		with(o)
		o.Sources = append(o.Sources, other)
	})
	open := holdProduce(k)
	r.wantSpooled(t, "msg_1")
	if a := r.post(t, other, "msg_1", bodyOf(1)); a.status != 503 || a.code(t) != "log_unavailable" {
		t.Errorf("the source that rejects: %v, want 503 log_unavailable", a)
	}
	open()
	eventually(t, func() error {
		if a := r.post(t, other, "msg_1", bodyOf(1)); a.status != 200 {
			return errors.New(a.String())
		}
		return nil
	})
	r.awaitDrained(t, 1)
}

// TestSpoolShutdown: who waits for the log when the relay is told to stop is
// answered by the spool, and the next relay writes it.
func TestSpoolShutdown(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	with := spooling(t.TempDir(), &n)
	slow := func(o *relay.Options) {
		with(o)
		o.Sources[0].Deadline = time.Minute
	}
	r := serving(t, k, slow)
	open := holdProduce(k)
	defer open()
	const waiting = 50
	answers := r.askAll(t, waiting)
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("Run ended after %v, want 15 s at most", d)
	}
	for range waiting {
		if a := <-answers; a.status != 200 || a.code(t) != "spooled" {
			t.Errorf("who waited got %v, want 200 spooled", a)
		}
	}
	open()
	next := serving(t, k, with)
	next.awaitDrained(t, waiting)
	p := &promises{places: make(map[string]string)}
	for i := range waiting {
		p.insist(t, next, fmt.Sprint("msg_", i))
	}
	checkTopic(t, k, p.places)
}

// TestSpoolWindow: an event that comes again after its source's window is a new
// one, also when it is drained: what is known of the earlier one says nothing.
func TestSpoolWindow(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	var n network
	with := spooling(t.TempDir(), &n)
	r := serving(t, k, func(o *relay.Options) {
		with(o)
		o.Sources[0].Window = time.Hour
	})
	old := foreignRecord("msg_1", time.Now().Add(-2*time.Hour))
	client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), old).FirstErr(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if r.Lookup("demo", "msg_1") == "" {
			return errors.New("the earlier event is not known yet")
		}
		return nil
	})
	n.set(true)
	for i := range 5 { // The last of them are drained from disk.
		r.wantSpooled(t, fmt.Sprint("msg_", 5-i))
	}
	n.set(false)
	r.awaitDrained(t, 5)
	if got := len(readTopic(t, k, topicName)); got != 6 {
		t.Errorf("the topic has %d records, want the earlier one and five", got)
	}
}
