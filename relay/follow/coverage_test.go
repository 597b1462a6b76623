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
				to := from + rapid.Int64Range(-1, 9).Draw(t, "length")
				if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
					to = rapid.Int64Range(0, size).Draw(t, "to")
				}
				to = min(to, size)
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

func TestCoverageOpen(t *testing.T) {
	// Covered: 0-9, 12-14, 20-29.
	c := follow.NewCoverage(10)
	c.Add(12, 15)
	c.Add(20, 30)
	f := func(target, through, wantFrom, wantTo int64) {
		t.Helper()
		if from, to := c.Open(target, through); from != wantFrom || to != wantTo {
			t.Errorf("open(%d, %d): got %d-%d, want %d-%d", target, through, from, to, wantFrom, wantTo)
		}
	}
	f(5, 100, 10, 10)
	f(10, 100, 10, 10)
	f(11, 100, 10, 11)
	f(14, 100, 10, 12)
	f(40, 0, 10, 12)
	f(40, 2, 10, 12)
	f(40, 3, 10, 20)
	f(18, 3, 10, 18)
	f(40, 9, 10, 20)
	f(40, 10, 10, 40)
	f(30, 10, 10, 20)
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
