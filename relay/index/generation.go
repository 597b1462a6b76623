package index

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"hooklog/schemas"
)

// generationsPerWindow is how many generations a window is divided into: an ID
// is kept at most an eighth of the window longer than asked, and a lookup has
// about ten filters to ask.
const generationsPerWindow = 8

// generation is one span of record time. IDs live and expire with theirs.
type generation struct {
	id     uint32
	filter atomic.Pointer[filter] // replaced by a smaller one of the same keys, see tidy.go
	ids    atomic.Int64

	// Guarded by Index.mu.
	saved  bool // the store holds its filter
	grown  bool // keys were added since it was saved
	adds   int64
	seen   int64 // adds as Maintain last saw it change, and when
	seenAt time.Time
	tidied time.Time // when it was last tidied
}

// add takes a key that the generation does not have. The caller holds x.mu.
func (g *generation) add(key schemas.EventKey) {
	g.filter.Load().add(key)
	g.ids.Add(1)
	g.adds++
	g.grown = true
}

func generationWidth(window time.Duration) time.Duration {
	return max(window/generationsPerWindow, time.Second).Truncate(time.Millisecond)
}

// generationOf returns the generation of a record time. Times from before 1970
// fall into the first.
func (x *Index) generationOf(t time.Time) uint32 {
	return uint32(max(0, t.UnixMilli()) / x.width.Milliseconds())
}

// generation returns the generation of that id, made if it is missing, or nil
// if it has been dropped. The caller holds x.mu.
func (x *Index) generation(id uint32) *generation {
	if id < x.oldest {
		return nil
	}
	gens := *x.generations.Load()
	i, found := slices.BinarySearchFunc(gens, id, func(g *generation, id uint32) int {
		return int(int64(id) - int64(g.id)) // newest first
	})
	if found {
		return gens[i]
	}
	// It will be about as large as the one before it.
	expected := 0
	if i < len(gens) {
		expected = int(gens[i].ids.Load())
	}
	return x.insert(i, id, newFilter(expected))
}

// insert adds a generation at its place. The caller holds x.mu.
func (x *Index) insert(i int, id uint32, f *filter) *generation {
	g := &generation{id: id}
	g.filter.Store(f)
	more := slices.Insert(slices.Clone(*x.generations.Load()), i, g)
	x.generations.Store(&more)
	return g
}

// expire drops the generations that lie wholly before the window. The caller
// holds x.mu.
func (x *Index) expire(now time.Time) error {
	if x.newest.Before(now) {
		now = x.newest
	}
	oldest := x.generationOf(now.Add(-x.window))
	if oldest <= x.oldest {
		return nil
	}
	b := x.db.NewBatch()
	if err := b.DeleteRange(generationStart(0), generationStart(oldest), nil); err != nil {
		return x.failed("expire generations", err)
	}
	if err := b.DeleteRange(savedStart(0), savedStart(oldest), nil); err != nil {
		return x.failed("expire generations", err)
	}
	if err := x.commit("expire generations", b); err != nil {
		return err
	}
	x.oldest = oldest
	gens := slices.DeleteFunc(slices.Clone(*x.generations.Load()), func(g *generation) bool { return g.id < oldest })
	x.generations.Store(&gens)
	x.pendingMu.Lock()
	maps.DeleteFunc(x.pending, func(_ schemas.EventKey, p pending) bool { return p.generation < oldest })
	x.pendingMu.Unlock()
	return nil
}
