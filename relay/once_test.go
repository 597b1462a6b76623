package relay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"hooklog/relay"
)

// TestConcurrentCopies: copies that come at the same moment become one record,
// one of them is told "accepted", and all are told the same place.
func TestConcurrentCopies(t *testing.T) {
	const ids, copies = 200, 16
	k := startKafka(t)
	r := start(t, k, nil)
	src := demoSource(t)
	answers := make([][copies]response, ids)
	connections := make([]*wire, copies)
	for i := range connections {
		connections[i] = dial(t, r)
	}
	r.sent.Add(ids * copies)
	for i := range ids {
		raw := request(t, src, fmt.Sprint("msg_", i), bodyOf(i))
		var together, done sync.WaitGroup
		together.Add(copies)
		for c, w := range connections {
			done.Go(func() {
				together.Done()
				together.Wait()
				var err error
				if answers[i][c], err = w.exchange(raw); err != nil {
					t.Errorf("msg_%d: %v", i, err)
				}
			})
		}
		done.Wait()
		if t.Failed() {
			return
		}
	}
	promised := make(map[string]string)
	for i := range ids {
		codes := make(map[string]int)
		places := make(map[string]bool)
		for _, a := range answers[i] {
			if a.status != 200 {
				t.Fatalf("msg_%d: %v, want 200", i, a)
			}
			codes[a.code(t)]++
			places[a.place(t)] = true
			promised[fmt.Sprint("msg_", i)] = a.place(t)
		}
		if codes["accepted"] != 1 || codes["duplicate"] != copies-1 || len(places) != 1 {
			t.Errorf("msg_%d: outcomes %v at places %v, want one accepted and one place", i, codes, places)
		}
	}
	checkTopic(t, k, promised)
	if n := len(readTopic(t, k, topicName)); n != ids {
		t.Errorf("the topic has %d records, want %d", n, ids)
	}
	claims := r.counts(t, "hooklog_index_claims_total")
	news, others := claims[labels{"", "new"}], claims[labels{"", "joined"}]+claims[labels{"", "duplicate"}]
	if news != ids || others != ids*(copies-1) {
		t.Errorf("claims: %v new and %v others, want %d and %d", news, others, ids, ids*(copies-1))
	}
}

// TestRestart: what was accepted before is a duplicate after, whatever became
// of the index.
func TestRestart(t *testing.T) {
	const ids = 50
	for name, next := range map[string]func(t *testing.T, dir string, first *testRelay) string{
		"index kept": func(_ *testing.T, dir string, first *testRelay) string { return dir },
		"index lost": func(t *testing.T, dir string, first *testRelay) string {
			stop(t, first)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			return dir
		},
		// As a process that is killed leaves it: files of a moment, nothing closed.
		"index of a killed relay": func(t *testing.T, dir string, first *testRelay) string {
			copied := filepath.Join(t.TempDir(), "copied")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			return copied
		},
		"half an index": func(t *testing.T, dir string, first *testRelay) string {
			stop(t, first)
			files, err := filepath.Glob(filepath.Join(dir, "facts", "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("files of the index: %q, %v", files, err)
			}
			for i, f := range files {
				if i%2 == 0 {
					if err := os.Truncate(f, 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := startKafka(t)
			dir := filepath.Join(t.TempDir(), "index")
			at := func(dir string) func(*relay.Options) { return func(o *relay.Options) { o.Dir = dir } }
			first := start(t, k, at(dir))
			promised := make(map[string]string)
			for i := range ids {
				a := first.post(t, demoSource(t), fmt.Sprint("msg_", i), bodyOf(1))
				if a.status != 200 || a.code(t) != "accepted" {
					t.Fatalf("msg_%d: %v, want accepted", i, a)
				}
				promised[fmt.Sprint("msg_", i)] = a.place(t)
			}
			dir = next(t, dir, first)
			stop(t, first)
			checkDuplicates(t, k, start(t, k, at(dir)), promised)
		})
	}
}

// checkDuplicates sends events again that are known.
func checkDuplicates(t *testing.T, k *kfake.Cluster, r *testRelay, promised map[string]string) {
	t.Helper()
	for id, place := range promised {
		a := r.post(t, demoSource(t), id, bodyOf(1))
		if a.status != 200 || a.code(t) != "duplicate" || a.place(t) != place {
			t.Errorf("%s again: %v, want a duplicate at %s", id, a, place)
		}
	}
	if n := len(readTopic(t, k, topicName)); n != len(promised) {
		t.Errorf("the topic has %d records, want %d", n, len(promised))
	}
	checkTopic(t, k, promised)
}

func stop(t *testing.T, r *testRelay) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatalf("Run = %v, want nil", err)
	}
}

// TestWindow: an ID is known for as long as the window says, by the clock of
// the events.
func TestWindow(t *testing.T) {
	const day = 24 * time.Hour
	for name, set := range map[string]func(*relay.Options){
		"of all":               func(o *relay.Options) { o.Window = 10 * day },
		"of a source, shorter": func(o *relay.Options) { o.Window, o.Sources[0].Window = 30*day, 10*day },
		"of a source, longer":  func(o *relay.Options) { o.Window, o.Sources[0].Window = 5*day, 10*day },
	} {
		t.Run(name, func(t *testing.T) { testWindow(t, set) })
	}
}

func testWindow(t *testing.T, set func(*relay.Options)) {
	const day = 24 * time.Hour
	k := startKafka(t)
	var clock atomic.Int64
	r := newRelay(t, k, set)
	r.SetClock(func() time.Time { return time.Unix(clock.Load(), 0) })
	r.run(t)
	r.awaitReady(t)
	began := time.Now().Add(-12 * day)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, "accepted"}, {0, "duplicate"}, {9 * day, "duplicate"}, {10*day + time.Hour, "accepted"}, {11 * day, "duplicate"}} {
		now := began.Add(c.after)
		clock.Store(now.Unix())
		a := r.ask(t, requestAt(t, demoSource(t), now, "msg_1", "{}"))
		if a.status != 200 || a.code(t) != c.want {
			t.Errorf("after %v: %v, want %s", c.after, a, c.want)
		}
		r.checkSettled(t)
	}
	if n := len(readTopic(t, k, topicName)); n != 2 {
		t.Errorf("the topic has %d records, want 2", n)
	}
}

// TestRestartUnderLoad: a relay is stopped and another one started while
// senders go on and try again what they got no 2xx for.
func TestRestartUnderLoad(t *testing.T) {
	const senders, events = 8, 150
	k := startKafka(t)
	dir := filepath.Join(t.TempDir(), "index")
	at := func(o *relay.Options) { o.Dir = dir }
	var mu sync.Mutex
	current := start(t, k, at)
	src := demoSource(t)
	promised := make(map[string]string)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range events {
				id := fmt.Sprintf("msg_%d_%d", s, i)
				raw := request(t, src, id, bodyOf(i))
				for deadline := time.Now().Add(30 * time.Second); ; {
					mu.Lock()
					r := current
					mu.Unlock()
					a, err := r.try(raw)
					if err == nil && a.status == 200 {
						mu.Lock()
						promised[id] = a.place(t)
						mu.Unlock()
						break
					}
					if err == nil && a.status != 503 {
						t.Errorf("%s: %v, want 200 or 503", id, a)
						return
					}
					if time.Now().After(deadline) {
						t.Errorf("%s: %v, %v", id, a, err)
						return
					}
				}
			}
		})
	}
	for round := 1; round <= 3; round++ {
		eventually(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(promised) < round*senders*events/5 {
				return fmt.Errorf("%d events so far", len(promised))
			}
			return nil
		})
		// What a sender was told nothing about need not have been a request.
		stop(t, current)
		current.sent.Store(int64(total(current.outcomes(t))))
		next := start(t, k, at)
		mu.Lock()
		current = next
		mu.Unlock()
	}
	all.Wait()
	current.sent.Store(int64(total(current.outcomes(t))))
	if len(promised) != senders*events {
		t.Errorf("%d events got a 2xx, want %d", len(promised), senders*events)
	}
	checkTopic(t, k, promised)
}

func total(outcomes map[string]float64) (n float64) {
	for _, v := range outcomes {
		n += v
	}
	return n
}
