package follow_test

import (
	"testing"

	"pgregory.net/rapid"

	"hooklog/relay/follow"
)

// TestCoverage compares the coverage with a set of offsets.
func TestCoverage(t *testing.T) {
	const size = 60
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Int64Range(0, 10).Draw(t, "low")
		c := follow.NewCoverage(low)
		var set [size + 1]bool
		for o := range low {
			set[o] = true
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				from := rapid.Int64Range(0, size).Draw(t, "from")
				to := rapid.Int64Range(0, size).Draw(t, "to")
				c.Add(from, to)
				for o := from; o < to; o++ {
					set[o] = true
				}
			},
			"open": func(t *rapid.T) {
				target := rapid.Int64Range(0, size).Draw(t, "target")
				through := rapid.Int64Range(0, 8).Draw(t, "through")
				from, to := c.Open(target, through)
				wantFrom, wantTo := naiveOpen(set[:], target, through)
				if from != wantFrom || to != wantTo {
					t.Fatalf("open(%d, %d): got %d-%d, want %d-%d", target, through, from, to, wantFrom, wantTo)
				}
			},
			"": func(t *rapid.T) {
				low, top, spans := int64(0), int64(0), 0
				for low < size && set[low] {
					low++
				}
				for o := range int64(size) {
					if set[o] {
						top = o + 1
					}
					if o > 0 && set[o] && !set[o-1] {
						spans++
					}
					if c.Has(o) != set[o] {
						t.Fatalf("has(%d): got %v, want %v", o, c.Has(o), set[o])
					}
				}
				if c.Low() != low || c.Top() != top || c.Spans() != spans {
					t.Fatalf("low %d, top %d, %d spans; want %d, %d, %d", c.Low(), c.Top(), c.Spans(), low, top, spans)
				}
			},
		})
	})
}

// naiveOpen walks over the set: from the first open offset to the last one that
// is reached without crossing more than through covered offsets at once.
func naiveOpen(set []bool, target, through int64) (from, to int64) {
	for set[from] {
		from++
	}
	to = from
	covered := int64(0)
	for o := from; o < target; o++ {
		if set[o] {
			covered++
			continue
		}
		if covered > through {
			break
		}
		covered, to = 0, o+1
	}
	return from, to
}
