package index

import (
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"hooklog/schemas"
)

const (
	// quietFor is how long nothing must be added to a past generation until it
	// counts as complete.
	quietFor = 10 * time.Second
	// tidyAgain is how long a generation is left alone that was tidied and has
	// grown since: records that come late must not have it scanned over and over.
	tidyAgain = time.Hour
)

// Maintain drops the generations that lie wholly before the window, and tidies
// one that is complete, in the background. It is to be called every few seconds.
//
// The clock that drops never passes the newest record: a machine whose clock
// runs ahead must not forget what the log still counts as recent.
func (x *Index) Maintain(now time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.failure.err(); err != nil {
		return err
	}
	if err := x.expire(now); err != nil {
		return err
	}
	if x.tidying {
		return nil
	}
	if g := x.complete(now); g != nil {
		x.tidying = true
		g.tidied = now
		x.background.Go(func() {
			if err := x.tidy(g); err != nil {
				x.log.Warn("cannot tidy the index", "err", err)
			}
			x.mu.Lock()
			x.tidying = false
			x.mu.Unlock()
		})
	}
	return nil
}

// complete returns a generation that can be tidied, or nil. The caller holds
// x.mu.
func (x *Index) complete(now time.Time) *generation {
	gens := *x.generations.Load()
	for _, g := range gens[min(1, len(gens)):] { // the newest is being written
		if g.adds != g.seen {
			g.seen, g.seenAt = g.adds, now
			continue
		}
		if g.saved && !g.grown || now.Sub(g.seenAt) < quietFor {
			continue
		}
		if g.tidied.IsZero() || now.Sub(g.tidied) >= tidyAgain {
			return g
		}
	}
	return nil
}

// tidy merges the tables of a complete generation, makes its filter one chunk of
// the right size and saves it. If the generation grows meanwhile its filter is
// left as it is.
func (x *Index) tidy(g *generation) error {
	x.mu.Lock()
	adds := g.adds
	err := x.write(nil) // What is pending would not be found.
	x.mu.Unlock()
	if err != nil {
		return err
	}
	if err := x.db.Compact(x.lifetime, generationStart(g.id), generationStart(g.id+1), false); err != nil {
		if x.lifetime.Err() != nil {
			return nil
		}
		return x.failed("merge generation", err)
	}
	f, ids, err := x.filterOf(g)
	if err != nil || f == nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if g.adds != adds || !slices.Contains(*x.generations.Load(), g) {
		return nil
	}
	if err := x.failure.err(); err != nil {
		return err
	}
	b := x.db.NewBatch()
	if err := setSaved(b, g, f, ids); err != nil {
		return x.failed("save filter", err)
	}
	if err := x.commit("save filter", b); err != nil {
		return err
	}
	g.filter.Store(f)
	g.ids.Store(ids)
	g.saved, g.grown = true, false
	return nil
}

// filterOf makes a filter of the keys that the store has of a generation; nil if
// the index is being closed.
func (x *Index) filterOf(g *generation) (_ *filter, ids int64, err error) {
	c := newChunk(int(g.ids.Load()))
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: generationStart(g.id), UpperBound: generationStart(g.id + 1)})
	if err != nil {
		return nil, 0, x.failed("read generation", err)
	}
	for it.First(); it.Valid() && x.lifetime.Err() == nil; it.Next() {
		c.add(schemas.EventKey(it.Key()[5:]))
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, 0, x.failed("read generation", err)
	}
	if x.lifetime.Err() != nil {
		return nil, 0, nil
	}
	return filterOf(c), int64(c.keys), nil
}

// saveAll saves the filters that are not saved as they are, for the next start.
// The caller holds x.mu.
func (x *Index) saveAll() error {
	for _, g := range *x.generations.Load() {
		if g.saved && !g.grown {
			continue
		}
		b := x.db.NewBatch()
		err := setSaved(b, g, g.filter.Load(), g.ids.Load())
		if err == nil {
			err = x.commit("save filter", b)
		}
		if err != nil {
			return x.failed("save filters", err)
		}
		g.saved, g.grown = true, false
	}
	return nil
}
