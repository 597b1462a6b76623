package index_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"hooklog/relay/index"
	"hooklog/schemas"
)

var (
	now     = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	topicID = index.TopicID{1}
)

const day = 24 * time.Hour

// fataler is what the helpers need of a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// options are those of an index in memory whose clock stands still.
func options(fs vfs.FS) index.Options {
	return index.Options{Dir: "index", FS: fs, Now: func() time.Time { return now }}
}

func open(t fataler, o index.Options) *index.Index {
	t.Helper()
	x, err := index.Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return x
}

func closeIndex(t fataler, x *index.Index) {
	t.Helper()
	if err := x.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// openTest opens an empty index with one topic until the test ends.
func openTest(t *testing.T) (*index.Index, index.TopicRef) {
	t.Helper()
	x := open(t, options(vfs.NewMem()))
	t.Cleanup(func() { closeIndex(t, x) })
	return x, topicRef(t, x, "webhooks", topicID)
}

func topicRef(t fataler, x *index.Index, name string, id index.TopicID) index.TopicRef {
	t.Helper()
	ref, err := x.Topic(name, id)
	if err != nil {
		t.Fatalf("topic %s: %v", name, err)
	}
	return ref
}

func key(i int) schemas.EventKey {
	return schemas.KeyOf("demo", schemas.EventID(fmt.Sprintf("evt_%d", i)))
}

// fact is event i at an offset of partition 0.
func fact(ref index.TopicRef, i int, offset int64, at time.Time) index.Fact {
	return index.Fact{Key: key(i), Topic: ref, Offset: offset, Time: at, BodySum: uint32(i)}
}

func apply(t fataler, x *index.Index, facts ...index.Fact) (copies int) {
	t.Helper()
	copies, err := x.Apply(facts, nil)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return copies
}

// wantOffset checks at which offset event i is known; -1 for not at all.
func wantOffset(t fataler, x *index.Index, i int, notBefore time.Time, want int64) {
	t.Helper()
	f, ok, err := x.Lookup(key(i), notBefore)
	if err != nil {
		t.Fatalf("look up event %d: %v", i, err)
	}
	got := int64(-1)
	if ok {
		got = f.Offset
	}
	if got != want {
		t.Fatalf("event %d: got offset %d, want %d", i, got, want)
	}
}
