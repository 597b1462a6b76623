package history_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hooklog/consumers/history"
	"hooklog/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "webhooks"

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type log struct {
	t      *testing.T
	seeds  []kgo.Opt
	client *kgo.Client
	admin  *kadm.Client
}

func newLog(t *testing.T, partitions int32) *log {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l := &log{t: t, seeds: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(50 * time.Millisecond)}}
	l.client, err = kgo.NewClient(append(slices.Clone(l.seeds), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	l.admin = kadm.NewClient(l.client)
	return l
}

// record returns the record of an event that came at a second of the day.
func record(partition int32, id, source, typ string, second int) *kgo.Record {
	at := begin.Add(time.Duration(second) * time.Second)
	r := schemas.Encode(&schemas.Event{
		ID: schemas.EventID(id), Source: schemas.SourceName(source), Type: schemas.EventType(typ), Time: at, Received: at,
		Scheme: "standard", Method: "POST", Target: "/", Body: []byte(id),
	}, topic)
	r.Partition = partition
	return r
}

func (l *log) put(records ...*kgo.Record) {
	l.t.Helper()
	if err := l.client.ProduceSync(l.t.Context(), records...).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) tail(o history.TailOptions) []string {
	l.t.Helper()
	o.Client = l.seeds
	if o.Topic == "" {
		o.Topic = topic
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	var ids []string
	if err := history.Tail(ctx, o, func(ev schemas.Event) error { ids = append(ids, string(ev.ID)); return nil }); err != nil {
		l.t.Fatal(err)
	}
	return ids
}

func (l *log) want(o history.TailOptions, want ...string) {
	l.t.Helper()
	if got := l.tail(o); !slices.Equal(got, want) {
		l.t.Errorf("tail of %+v is %q, want %q", o, got, want)
	}
}

func TestLast(t *testing.T) {
	l := newLog(t, 3)
	l.put(
		record(0, "a", "stripe", "payment.ok", 1), record(1, "b", "github", "push", 2), record(0, "c", "stripe", "payment.ok", 3),
		record(1, "d", "stripe", "payment.failed", 4), record(1, "e", "github", "push", 5), record(0, "f", "stripe", "refund", 6),
	)
	l.want(history.TailOptions{}, "a", "b", "c", "d", "e", "f")
	l.want(history.TailOptions{Last: 6}, "a", "b", "c", "d", "e", "f")
	l.want(history.TailOptions{Last: 3}, "d", "e", "f")
	l.want(history.TailOptions{Last: 1}, "f")
	l.want(history.TailOptions{Last: 100}, "a", "b", "c", "d", "e", "f")
	l.want(history.TailOptions{Last: history.All}, "a", "b", "c", "d", "e", "f")
	l.want(history.TailOptions{Last: -1})
	l.want(history.TailOptions{Last: 2, Source: "stripe"}, "d", "f")
	l.want(history.TailOptions{Last: 2, Type: "payment.*"}, "c", "d")
	l.want(history.TailOptions{Last: history.All, Source: "git*", Type: "pus?"}, "b", "e")
	l.want(history.TailOptions{Type: "none"})
}

// Events that match may lie far back: the ranges that are read grow.
func TestLastFarBack(t *testing.T) {
	l := newLog(t, 2)
	l.put(record(0, "first", "s", "rare", 0), record(1, "second", "s", "rare", 1))
	var many []*kgo.Record
	for i := range 1000 {
		typ := "common"
		if i%80 == 0 {
			typ = "sometimes"
		}
		many = append(many, record(int32(i%2), fmt.Sprint(i), "s", typ, 2+i))
	}
	l.put(many...)
	l.want(history.TailOptions{Last: 3, Type: "sometimes"}, "800", "880", "960") // More than one range is read.
	l.want(history.TailOptions{Last: 1, Type: "rare"}, "second")
	l.want(history.TailOptions{Last: 5, Type: "rare"}, "first", "second")
	l.want(history.TailOptions{Last: 3}, "997", "998", "999")
}

// One partition keeps its order even where times go back (an event drained from
// the spool); across partitions time decides.
func TestOrder(t *testing.T) {
	l := newLog(t, 2)
	l.put(record(0, "a", "s", "x", 5), record(0, "b", "s", "x", 1), record(1, "c", "s", "x", 3), record(1, "d", "s", "x", 6), record(0, "e", "s", "x", 7))
	l.want(history.TailOptions{Last: history.All}, "c", "a", "b", "d", "e")
	l.want(history.TailOptions{Last: 3}, "a", "d", "e") // And not b, which lies between.
}

// Much in one partition, little in the other: the merge waits without holding
// everything.
func TestMergeOfUnevenPartitions(t *testing.T) {
	l := newLog(t, 2)
	var many []*kgo.Record
	var want []string
	for i := range 3000 {
		r := record(0, fmt.Sprint(i), "s", "x", i)
		r.Value = make([]byte, 2000)
		many = append(many, r)
		want = append(want, fmt.Sprint(i))
	}
	many = append(many, record(1, "last", "s", "x", 5000))
	l.put(many...)
	l.want(history.TailOptions{Last: history.All}, append(want, "last")...)
}

// The end is found although no record stands at it: a marker does, or nothing.
func TestEndsWithTransactions(t *testing.T) {
	l := newLog(t, 1)
	l.put(record(0, "plain", "s", "x", 1))
	tx, err := kgo.NewClient(append(slices.Clone(l.seeds), kgo.TransactionalID("tx"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	transact := func(id string, end kgo.TransactionEndTry) {
		t.Helper()
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), record(0, id, "s", "x", 2)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	transact("committed", kgo.TryCommit)
	l.want(history.TailOptions{}, "plain", "committed")
	l.want(history.TailOptions{Last: history.All}, "plain", "committed")
	transact("aborted", kgo.TryAbort)
	l.want(history.TailOptions{}, "plain", "committed")
	l.want(history.TailOptions{Last: history.All}, "plain", "committed")
}

// A transaction that is open at the end is waited for: the target is the high
// watermark.
func TestWaitsForAnOpenTransaction(t *testing.T) {
	l := newLog(t, 1)
	tx, err := kgo.NewClient(append(slices.Clone(l.seeds), kgo.TransactionalID("tx"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := tx.ProduceSync(t.Context(), record(0, "open", "s", "x", 1)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	l.put(record(0, "behind", "s", "x", 2))
	done := make(chan []string)
	go func() { done <- l.tail(history.TailOptions{Last: history.All}) }()
	select {
	case got := <-done:
		t.Fatalf("tail ended with %q while a transaction was open", got)
	case <-time.After(3 * time.Second): // Longer than a gap takes to be believed.
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !slices.Equal(got, []string{"open", "behind"}) {
		t.Errorf("tail is %q, want open, behind", got)
	}
}

func TestDeletedBeginning(t *testing.T) {
	l := newLog(t, 2)
	l.put(record(0, "a", "s", "x", 1), record(0, "b", "s", "x", 2), record(1, "c", "s", "x", 3))
	_, err := l.admin.DeleteRecords(t.Context(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 1}, 1: {Topic: topic, Partition: 1, At: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	l.want(history.TailOptions{}, "b")
	l.want(history.TailOptions{Last: history.All}, "b")
}

func TestEmptyTopic(t *testing.T) {
	l := newLog(t, 2)
	l.want(history.TailOptions{})
	l.want(history.TailOptions{Last: history.All})
}

func TestMissingTopic(t *testing.T) {
	l := newLog(t, 1)
	err := history.Tail(t.Context(), history.TailOptions{Client: l.seeds, Topic: "nope"}, nil)
	if !errors.Is(err, history.ErrNoTopic) || !strings.Contains(err.Error(), `"nope"`) {
		t.Errorf("got %v, want ErrNoTopic and its name", err)
	}
}

func TestSkipped(t *testing.T) {
	l := newLog(t, 1)
	l.put(record(0, "a", "s", "x", 1), &kgo.Record{Topic: topic, Value: []byte("junk"), Timestamp: begin.Add(2 * time.Second)}, record(0, "b", "s", "x", 3))
	for _, last := range []int{history.All, 2} {
		var skipped []string
		l.want(history.TailOptions{Last: last, Skipped: func(p schemas.Position, err error) {
			if !errors.Is(err, schemas.ErrNotEvent) {
				t.Error(err)
			}
			skipped = append(skipped, p.String())
		}}, "a", "b")
		if !slices.Equal(skipped, []string{"webhooks/0@1"}) {
			t.Errorf("last %d: skipped %q, want webhooks/0@1", last, skipped)
		}
	}
	l.want(history.TailOptions{}, "a", "b") // Nobody wants to know.
}

func TestFollow(t *testing.T) {
	l := newLog(t, 2)
	l.put(record(0, "a", "s", "x", 1), record(1, "b", "s", "y", 2))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var ids []string
	got := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(ids)
	}
	done := make(chan error, 1)
	go func() {
		done <- history.Tail(ctx, history.TailOptions{Client: l.seeds, Topic: topic, Last: 1, Follow: true, Type: "x"}, func(ev schemas.Event) error {
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, string(ev.ID))
			return nil
		})
	}()
	wait := func(want ...string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !slices.Equal(got(), want); <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("got %q, want %q", got(), want)
			}
		}
	}
	wait("a")
	l.put(record(1, "c", "s", "x", 3), record(1, "d", "s", "y", 4))
	wait("a", "c")
	l.put(record(0, "e", "s", "x", 5))
	wait("a", "c", "e")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Tail returned %v after its context's end, want nil", err)
	}
}

func TestCallbackEndsTail(t *testing.T) {
	l := newLog(t, 1)
	l.put(record(0, "a", "s", "x", 1))
	enough := errors.New("enough")
	for _, o := range []history.TailOptions{{}, {Last: history.All}, {Follow: true}} {
		o.Client, o.Topic = l.seeds, topic
		if err := history.Tail(t.Context(), o, func(schemas.Event) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("%+v: got %v, want the callback's error", o, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := history.Tail(ctx, history.TailOptions{Client: l.seeds, Topic: topic}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}
