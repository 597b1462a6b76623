package follow

import (
	"cmp"
	"slices"
)

// coverage is the set of a partition's offsets whose facts the index holds (or
// that hold no fact): everything before low, and some spans after it. Spans are
// sorted, disjoint, not adjacent, and begin after low.
//
// Own acknowledgements come nearly in order, and what they leave open is closed
// within milliseconds, so there are few spans at a time.
type coverage struct {
	low   int64
	spans []span
}

// span is the offsets from <= o < to.
type span struct{ from, to int64 }

// add covers the offsets from <= o < to.
func (c *coverage) add(from, to int64) {
	from = max(from, c.low)
	if from >= to {
		return
	}
	// first..last are the spans that the new one touches.
	first := c.search(from)
	last := first
	for last < len(c.spans) && c.spans[last].from <= to {
		from, to = min(from, c.spans[last].from), max(to, c.spans[last].to)
		last++
	}
	if from <= c.low {
		c.low = to
		c.spans = slices.Delete(c.spans, 0, last)
		return
	}
	c.spans = slices.Replace(c.spans, first, last, span{from, to})
}

// has reports whether an offset is covered.
func (c *coverage) has(o int64) bool {
	if o < c.low {
		return true
	}
	i := c.search(o + 1)
	return i < len(c.spans) && c.spans[i].from <= o
}

// top returns the offset after the last that is covered.
func (c *coverage) top() int64 {
	if n := len(c.spans); n > 0 {
		return c.spans[n-1].to
	}
	return c.low
}

// open returns the first stretch before target that is worth one reading: it
// begins at low and goes on through covered spans of up to through offsets, up
// to the last open offset. It is empty if nothing is open.
func (c *coverage) open(target, through int64) (from, to int64) {
	from, to = c.low, c.low
	at := c.low // the first offset not yet looked at; it is open
	for _, s := range c.spans {
		if at >= target {
			return from, to
		}
		to = min(s.from, target)
		if s.to-s.from > through {
			return from, to
		}
		at = s.to
	}
	if at < target {
		to = target
	}
	return from, to
}

// search returns the first span that ends at o or after it.
func (c *coverage) search(o int64) int {
	i, _ := slices.BinarySearchFunc(c.spans, o, func(s span, o int64) int { return cmp.Compare(s.to, o) })
	return i
}
