// Package curve measures what remembering costs: the processor time of claiming
// an event and settling it, and the memory, by how many IDs the index knows.
package curve

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"hooklog/relay/claim"
	"hooklog/relay/index"
	"hooklog/schemas"
)

// Options are what Run needs.
type Options struct {
	// Dir is where indexes are made, each in a folder that is removed.
	Dir string
	// IDs are the sizes, each a point of the curve.
	IDs []int
	// Events are claimed and settled at each size, and Lookups are made of new
	// and of known IDs.
	Events, Lookups int
	// Progress is told what is going on; nil for nobody.
	Progress func(text string)
}

// Point is what one size costs.
type Point struct {
	IDs int `json:"ids"`
	// EventMicros is the processor time of one new event from claim to settled
	// fact, with all that Pebble does for it in the background, in microseconds.
	EventMicros float64 `json:"event_us"`
	// NewNanos and KnownNanos are that of one look-up, in nanoseconds.
	NewNanos   float64 `json:"new_ns"`
	KnownNanos float64 `json:"known_ns"`
	// FilterBytes is the memory of the filters, HeapBytes all that the index
	// holds of the Go heap. Pebble's block cache and memtables, which do not
	// grow with the index, are beside it.
	FilterBytes int    `json:"filter_bytes"`
	HeapBytes   uint64 `json:"heap_bytes"`
	DiskBytes   uint64 `json:"disk_bytes"`
	// Open is how long opening takes after an orderly end and after a kill, in
	// seconds.
	Open       float64 `json:"open_seconds"`
	OpenKilled float64 `json:"open_killed_seconds"`
}

const (
	window = index.DefaultWindow
	// settleBatch is how many facts the relay's settler has for one batch at
	// 20,000 events a second.
	settleBatch = 100
	loadBatch   = 8192
)

// Run measures each size in turn.
func Run(ctx context.Context, o Options) ([]Point, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	var out []Point
	for _, ids := range o.IDs {
		p, err := measure(ctx, &o, ids)
		if err != nil {
			return out, fmt.Errorf("%d ids: %w", ids, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// bed is an index of one size.
type bed struct {
	index *index.Index
	ref   index.TopicRef
	now   time.Time
	ids   int
	next  int
}

func measure(ctx context.Context, o *Options, ids int) (p Point, err error) {
	dir, err := os.MkdirTemp(o.Dir, "index-")
	if err != nil {
		return p, err
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	heapBefore := heapBytes()
	b := &bed{now: time.Now(), ids: ids, next: ids}
	store := index.Options{Dir: filepath.Join(dir, "index"), Now: func() time.Time { return b.now }}
	if err := b.open(store); err != nil {
		return p, err
	}
	defer func() {
		if e := b.index.Close(); err == nil {
			err = e
		}
	}()
	o.Progress(fmt.Sprintf("%d ids: writing", ids))
	if err := b.fill(ctx); err != nil {
		return p, err
	}
	// A while later, past generations are tidied.
	for i := range 2 * b.index.Stats().Generations {
		if err := b.index.Maintain(b.now.Add(time.Duration(i) * 11 * time.Second)); err != nil {
			return p, err
		}
		quiet()
	}
	// What a kill leaves is a copy of the folder as it is.
	killed := filepath.Join(dir, "killed")
	if err := os.CopyFS(killed, os.DirFS(store.Dir)); err != nil {
		return p, err
	}
	if err := b.index.Close(); err != nil {
		return p, err
	}
	o.Progress(fmt.Sprintf("%d ids: opening", ids))
	start := time.Now()
	again := &bed{now: b.now}
	if err := again.open(index.Options{Dir: killed, Now: store.Now}); err != nil {
		return p, err
	}
	p.OpenKilled = time.Since(start).Seconds()
	if err := again.index.Close(); err != nil {
		return p, err
	}
	if err := os.RemoveAll(killed); err != nil {
		return p, err
	}
	again = nil
	start = time.Now()
	if err := b.open(store); err != nil {
		return p, err
	}
	p.Open = time.Since(start).Seconds()
	quiet()
	stats := b.index.Stats()
	p.IDs, p.FilterBytes, p.DiskBytes = ids, stats.FilterBytes, stats.DiskBytes
	p.HeapBytes = heapBytes() - heapBefore

	o.Progress(fmt.Sprintf("%d ids: measuring", ids))
	if p.NewNanos, err = b.lookUp(o.Lookups, 1<<40, 1<<40, false); err != nil {
		return p, err
	}
	if p.KnownNanos, err = b.lookUp(o.Lookups, 0, ids, true); err != nil {
		return p, err
	}
	if err := b.events(ctx, o.Events/4); err != nil { // Warm: caches, map sizes.
		return p, err
	}
	quiet()
	before := cpu()
	if err := b.events(ctx, o.Events); err != nil {
		return p, err
	}
	quiet()
	p.EventMicros = float64((cpu() - before).Nanoseconds()) / 1000 / float64(o.Events)
	return p, nil
}

func (b *bed) open(o index.Options) (err error) {
	if b.index, err = index.Open(o); err != nil {
		return err
	}
	b.ref, err = b.index.Topic("webhooks", index.TopicID{1})
	return err
}

// fill writes IDs over the whole window, the oldest first.
func (b *bed) fill(ctx context.Context) error {
	facts := make([]index.Fact, 0, loadBatch)
	for i := range b.ids {
		age := time.Duration(float64(window) * float64(b.ids-i) / float64(b.ids) * 0.999)
		facts = append(facts, index.Fact{Key: keyOf(i), Topic: b.ref, Offset: int64(i), Time: b.now.Add(-age)})
		if len(facts) == cap(facts) || i == b.ids-1 {
			if _, err := b.index.Apply(facts, nil); err != nil {
				return err
			}
			facts = facts[:0]
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// lookUp asks for some of the IDs in from..from+n, and returns the time of one.
func (b *bed) lookUp(some, from, n int, want bool) (nanos float64, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]schemas.EventKey, some)
	for i := range keys {
		keys[i] = keyOf(from + rng.IntN(n))
	}
	start := time.Now()
	for i := range keys {
		_, ok, err := b.index.Lookup(keys[i], b.now.Add(-window))
		if err != nil {
			return 0, err
		}
		if ok != want {
			return 0, fmt.Errorf("look up: got %v, want %v", ok, want)
		}
	}
	return float64(time.Since(start).Nanoseconds()) / float64(some), nil
}

// events takes new events from claim to fact, as the relay does around the
// producer.
func (b *bed) events(ctx context.Context, n int) error {
	table := claim.NewTable(4 * settleBatch)
	claims := make([]*claim.Claim, 0, settleBatch)
	facts := make([]index.Fact, 0, settleBatch)
	for range n {
		key := keyOf(b.next)
		c, role := table.Begin(key, uint32(b.next))
		if role != claim.Owner {
			return fmt.Errorf("event %d: the claim is somebody else's", b.next)
		}
		since := b.index.Version()
		if _, known, err := b.index.Lookup(key, b.now.Add(-window)); err != nil || known {
			return fmt.Errorf("event %d: known %v, %w", b.next, known, err)
		}
		pos := schemas.Position{Topic: "webhooks", Partition: int32(b.next % 6), Offset: int64(b.next)}
		table.Commit(c, pos)
		claims = append(claims, c)
		facts = append(facts, index.Fact{Key: key, Topic: b.ref, Partition: pos.Partition, Offset: pos.Offset, Time: b.now, BodySum: c.BodySum(), Since: since})
		b.next++
		if len(facts) < cap(facts) {
			continue
		}
		if _, err := b.index.Apply(facts, nil); err != nil {
			return err
		}
		for _, c := range claims {
			table.Forget(c)
		}
		claims, facts = claims[:0], facts[:0]
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// keyOf is made as the relay makes it.
func keyOf(i int) schemas.EventKey {
	var id [20]byte
	return schemas.KeyOf("demo", schemas.EventID(fmt.Appendf(id[:0], "evt_%d", i)))
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("BUG: getrusage of the process itself: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// quiet waits until the process does nothing in the background any more, a
// minute at the most.
func quiet() {
	for range 300 {
		before := cpu()
		time.Sleep(200 * time.Millisecond)
		if cpu()-before < 5*time.Millisecond {
			return
		}
	}
}

func heapBytes() uint64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
