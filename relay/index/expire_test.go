package index_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"hooklog/relay/index"
	"hooklog/schemas"
)

func TestExpire(t *testing.T) {
	clock := now
	fs := vfs.NewMem()
	o := options(fs)
	o.Now = func() time.Time { return clock }
	x := open(t, o)
	ref := topicRef(t, x, "webhooks", topicID)
	apply(t, x, fact(ref, 1, 1, now.Add(-10*day)), fact(ref, 2, 2, now))

	// The clock runs ahead of the log: nothing goes.
	if err := x.Maintain(now.Add(400 * day)); err != nil {
		t.Fatal(err)
	}
	wantOffset(t, x, 1, time.Time{}, 1)
	wantOffset(t, x, 2, time.Time{}, 2)

	// The log moves on: what lies wholly before the window goes.
	clock = now.Add(25 * day)
	apply(t, x, fact(ref, 3, 3, clock))
	if err := x.Maintain(clock); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		wantOffset(t, x, 1, time.Time{}, -1)
		wantOffset(t, x, 2, time.Time{}, 2)
		wantOffset(t, x, 3, time.Time{}, 3)
		if s := x.Stats(); s.IDs != 2 || s.Generations != 2 {
			t.Errorf("%s: %d ids in %d generations, want 2 in 2", when, s.IDs, s.Generations)
		}
		// Facts for what was dropped are passed over.
		apply(t, x, fact(ref, 1, 1, now.Add(-10*day)))
		wantOffset(t, x, 1, time.Time{}, -1)
	}
	check("after expiry")
	closeIndex(t, x)
	x = open(t, o)
	defer closeIndex(t, x)
	check("after reopening")
}

// TestOlderFactsAfterReopen applies facts that are older than all the index
// holds, but within the window, after it was reopened: partitions are read in
// any order, and a crash may come between two.
func TestOlderFactsAfterReopen(t *testing.T) {
	fs := vfs.NewMem()
	x := open(t, options(fs))
	ref := topicRef(t, x, "webhooks", topicID)
	apply(t, x, fact(ref, 1, 1, now))
	closeIndex(t, x)
	x = open(t, options(fs))
	defer closeIndex(t, x)
	apply(t, x, fact(ref, 2, 2, now.Add(-20*day)))
	wantOffset(t, x, 2, now.Add(-30*day), 2)
}

// TestModel compares the index with a map: random batches, times, expiries,
// recreated topics and reopenings.
func TestModel(t *testing.T) {
	type known struct {
		fact index.Fact
		gen  int64
	}
	const (
		window = 80 * time.Second
		width  = window / 8
	)
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		clock := now
		o := index.Options{Dir: "index", FS: fs, Window: window, Now: func() time.Time { return clock }}
		x := open(t, o)
		defer func() { closeIndex(t, x) }()
		incarnation := byte(1)
		ref := topicRef(t, x, "webhooks", index.TopicID{incarnation})
		model := make(map[schemas.EventKey][]known)
		genOf := func(at time.Time) int64 { return at.UnixMilli() / width.Milliseconds() }
		var offset int64
		newest := time.Time{}
		oldest := int64(0)

		// first returns the fact that answers for a key at a time.
		first := func(k schemas.EventKey, at time.Time) (index.Fact, bool) {
			for _, m := range model[k] {
				if !m.fact.Time.Before(at.Add(-window)) {
					return m.fact, true
				}
			}
			return index.Fact{}, false
		}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				var batch []index.Fact
				want := 0
				for range rapid.IntRange(1, 6).Draw(t, "facts") {
					offset++
					at := clock.Add(-time.Duration(rapid.IntRange(0, 120).Draw(t, "age")) * time.Second)
					f := fact(ref, rapid.IntRange(0, 4).Draw(t, "event"), offset, at)
					batch = append(batch, f)
					if at.After(newest) {
						newest = at
					}
					g := genOf(at)
					if g < oldest {
						continue
					}
					if _, ok := first(f.Key, at); ok {
						want++
						continue
					}
					model[f.Key] = append(model[f.Key], known{f, g})
				}
				if got := apply(t, x, batch...); got != want {
					t.Fatalf("apply %v: %d copies, want %d", batch, got, want)
				}
			},
			"time passes": func(t *rapid.T) {
				clock = clock.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "seconds")) * time.Second)
			},
			"expire": func(t *rapid.T) {
				ahead := time.Duration(rapid.IntRange(0, 200).Draw(t, "clock ahead")) * time.Second
				if err := x.Maintain(clock.Add(ahead)); err != nil {
					t.Fatal(err)
				}
				limit := clock.Add(ahead)
				if newest.Before(limit) {
					limit = newest
				}
				if newest.IsZero() {
					return
				}
				oldest = max(oldest, genOf(limit.Add(-window)))
				for k, ms := range model {
					var kept []known
					for _, m := range ms {
						if m.gen >= oldest {
							kept = append(kept, m)
						}
					}
					model[k] = kept
				}
			},
			"recreate topic": func(t *rapid.T) {
				incarnation++
				ref = topicRef(t, x, "webhooks", index.TopicID{incarnation})
				clear(model)
			},
			"look up": func(t *rapid.T) {
				i := rapid.IntRange(0, 5).Draw(t, "event")
				want, known := first(key(i), clock)
				got, ok, err := x.Lookup(key(i), clock.Add(-window))
				if err != nil || ok != known {
					t.Fatalf("look up event %d: %v, %v; want %v", i, ok, err, known)
				}
				// Several may be within the window where times were not in
				// order; any of them answers.
				if ok && got.Offset != want.Offset && len(model[key(i)]) < 2 {
					t.Fatalf("event %d: got offset %d, want %d", i, got.Offset, want.Offset)
				}
			},
		})
	})
}
