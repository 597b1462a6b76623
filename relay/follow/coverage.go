package follow

import "slices"

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
	first, _ := slices.BinarySearchFunc(c.spans, from, func(s span, from int64) int { return cmp(s.to, from) })
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

// gap returns the end of the open stretch that begins at low: the first span,
// or the target if that comes first. There is none where the two are equal.
func (c *coverage) gap(target int64) (from, to int64) {
	to = max(target, c.low)
	if len(c.spans) > 0 {
		to = min(to, c.spans[0].from)
	}
	return c.low, to
}

func cmp(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
