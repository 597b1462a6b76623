package index_test

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"hooklog/relay/index"
	"hooklog/schemas"
)

// hashKey is a key as a hash makes them, but cheap: splitmix64.
func hashKey(i uint64) (k schemas.EventKey) {
	for half := range 2 {
		i += 0x9e3779b97f4a7c15
		z := i
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(k[8*half:], z^z>>31)
		i ^= 0xabcdef0123456789
	}
	return k
}

func TestFilterNoFalseNegatives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := index.NewFilter()
		keys := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 16, 16), 0, 200).Draw(t, "keys")
		for i, k := range keys {
			f.Add(schemas.EventKey(k))
			for _, earlier := range keys[:i+1] {
				if !f.Has(schemas.EventKey(earlier)) {
					t.Fatalf("key %x was added and is not there", earlier)
				}
			}
		}
	})
}

// TestFilterGrowth fills a filter through several sizes: every key stays, and
// false answers stay rare at each size.
func TestFilterGrowth(t *testing.T) {
	f := index.NewFilter()
	const n = 1 << 20
	next := uint64(1 << 12)
	for i := range uint64(n) {
		f.Add(hashKey(i))
		if i+1 != next {
			continue
		}
		next *= 4
		for j := range i + 1 {
			if !f.Has(hashKey(j)) {
				t.Fatalf("key %d of %d was added and is not there", j, i+1)
			}
		}
		const probes = 200_000
		wrong := 0
		for j := range uint64(probes) {
			if f.Has(hashKey(1<<40 + j)) {
				wrong++
			}
		}
		rate := float64(wrong) / probes
		t.Logf("%8d keys: %d chunks, %d KiB, false answers %.3f %%", i+1, f.Chunks(), f.Bytes()>>10, 100*rate)
		if rate > 0.01 {
			t.Errorf("false answers with %d keys: %.3f %%, want less than 1 %%", i+1, 100*rate)
		}
	}
	if f.Chunks() < 2 {
		t.Errorf("chunks: got %d, want several: the test is to grow", f.Chunks())
	}
}

// TestFilterConcurrent reads while keys are added: one whose add has returned
// is there.
func TestFilterConcurrent(t *testing.T) {
	f := index.NewFilter()
	const n = 300_000
	var added atomic.Uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range uint64(n) {
			f.Add(hashKey(i))
			added.Store(i + 1)
		}
	})
	for r := range 2 {
		wg.Go(func() {
			for i := uint64(r); ; i++ {
				n := added.Load()
				if n == 0 {
					continue
				}
				if k := i * 7919 % n; !f.Has(hashKey(k)) {
					t.Errorf("key %d of %d was added and is not there", k, n)
					return
				}
				if n == 300_000 {
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestFilterAllocs(t *testing.T) {
	f := index.NewFilter()
	f.Add(hashKey(1))
	var i uint64
	if got := testing.AllocsPerRun(1000, func() { i++; f.Has(hashKey(i)) }); got != 0 {
		t.Errorf("has: %v allocations, want 0", got)
	}
}

func BenchmarkFilterHas(b *testing.B) {
	f := index.NewFilter()
	for i := range uint64(1 << 20) {
		f.Add(hashKey(i))
	}
	b.ReportAllocs()
	var i uint64
	for b.Loop() {
		i++
		f.Has(hashKey(1<<40 + i))
	}
}
