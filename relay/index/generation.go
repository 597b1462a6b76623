package index

import (
	"slices"
	"sync/atomic"
	"time"
)

// generationsPerWindow is how many generations a window is divided into: an ID
// is kept at most an eighth of the window longer than asked, and a lookup has
// about ten filters to ask.
const generationsPerWindow = 8

// generation is one span of record time. IDs live and expire with theirs.
type generation struct {
	id     uint32
	filter *filter
	ids    atomic.Int64
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
	g := &generation{id: id, filter: newFilter()}
	more := slices.Insert(slices.Clone(gens), i, g)
	x.generations.Store(&more)
	return g
}

// Expire drops the generations that lie wholly before the window. The clock
// that drops never passes the newest record: a machine whose clock runs ahead
// must not forget what the log still counts as recent.
func (x *Index) Expire(now time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.failure.err(); err != nil {
		return err
	}
	return x.expire(now)
}

// expire is Expire; the caller holds x.mu.
func (x *Index) expire(now time.Time) error {
	if x.newest.Before(now) {
		now = x.newest
	}
	oldest := x.generationOf(now.Add(-x.window))
	if oldest <= x.oldest {
		return nil
	}
	b := x.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(generationStart(0), generationStart(oldest), nil); err != nil {
		return x.failed("expire generations", err)
	}
	if err := x.commit("expire generations", b); err != nil {
		return err
	}
	x.oldest = oldest
	gens := slices.DeleteFunc(slices.Clone(*x.generations.Load()), func(g *generation) bool { return g.id < oldest })
	x.generations.Store(&gens)
	return nil
}
