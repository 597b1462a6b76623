package index_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hooklog/relay/index"
)

// TestLookupDuringApply looks events up while others are applied, generations
// dropped and topics read: what Apply has taken is found by every look-up that
// starts after it has returned.
func TestLookupDuringApply(t *testing.T) {
	x, ref := openTest(t)
	const n = 20_000
	var applied atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < n; i += 20 {
			var facts []index.Fact
			for j := i; j < i+20; j++ {
				facts = append(facts, fact(ref, j, int64(j), now.Add(-time.Duration(j%25)*day)))
			}
			if _, err := x.Apply(facts, nil); err != nil {
				t.Error(err)
				break
			}
			applied.Store(int64(i + 20))
		}
		applied.Store(n)
	})
	wg.Go(func() {
		for applied.Load() < n {
			if err := x.Maintain(now.Add(-4 * day)); err != nil {
				t.Error(err)
			}
			x.Stats()
		}
	})
	for r := range 2 {
		wg.Go(func() {
			for i := int64(r); applied.Load() < n; i++ {
				if top := applied.Load(); top > 0 {
					e := i * 31 % top
					f, ok, err := x.Lookup(key(int(e)), now.Add(-30*day))
					if err != nil || !ok || f.Offset != e {
						t.Errorf("event %d of %d: %v, %v, %v; want it", e, top, f, ok, err)
						return
					}
				}
				if _, ok, err := x.Lookup(key(n+int(i)), time.Time{}); ok || err != nil {
					t.Errorf("event %d: %v, %v; want it unknown", n+i, ok, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestDeadAtOnce recreates a topic while its events are looked up: no look-up
// that starts afterwards finds an old fact.
func TestDeadAtOnce(t *testing.T) {
	x, ref := openTest(t)
	const n = 1000
	for i := range n {
		apply(t, x, fact(ref, i, int64(i), now))
	}
	var dead atomic.Bool
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				wasDead := dead.Load()
				_, ok, err := x.Lookup(key(i%n), time.Time{})
				if err != nil || ok && wasDead {
					t.Errorf("event %d: %v, %v after its topic was made anew", i%n, ok, err)
					return
				}
			}
		})
	}
	topicRef(t, x, "webhooks", index.TopicID{2})
	dead.Store(true)
	for i := range n {
		wantOffset(t, x, i, time.Time{}, -1)
	}
	close(stop)
	wg.Wait()
}
