package index_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"hooklog/relay/index"
	"hooklog/schemas"
)

const benchIDs = 1 << 20

// openBench makes an index on disk that knows keys 0 to benchIDs-1, spread over
// the whole window, the oldest first.
func openBench(b *testing.B) (*index.Index, index.TopicRef, index.Options) {
	b.Helper()
	o := index.Options{Dir: filepath.Join(b.TempDir(), "index"), Now: func() time.Time { return now }}
	x := open(b, o)
	ref := topicRef(b, x, "webhooks", topicID)
	facts := make([]index.Fact, 0, 8192)
	for i := range uint64(benchIDs) {
		age := 30 * day * time.Duration(benchIDs-i) / benchIDs
		facts = append(facts, benchFact(ref, i, now.Add(-age)))
		if len(facts) == cap(facts) {
			apply(b, x, facts...)
			facts = facts[:0]
		}
	}
	apply(b, x, facts...)
	return x, ref, o
}

func benchFact(ref index.TopicRef, i uint64, at time.Time) index.Fact {
	return index.Fact{Key: hashKey(i), Topic: ref, Offset: int64(i), Time: at, BodySum: uint32(i)}
}

// BenchmarkLookup asks an index of a million IDs in nine generations.
func BenchmarkLookup(b *testing.B) {
	x, _, _ := openBench(b)
	defer closeIndex(b, x)
	lookup := func(b *testing.B, keyOf func(i uint64) schemas.EventKey, want bool) {
		b.ReportAllocs()
		var i uint64
		for b.Loop() {
			i++
			if _, ok, err := x.Lookup(keyOf(i), now.Add(-30*day)); ok != want || err != nil {
				b.Fatalf("key %d: %v, %v; want %v", i, ok, err, want)
			}
		}
	}
	b.Run("new", func(b *testing.B) {
		lookup(b, func(i uint64) schemas.EventKey { return hashKey(1<<40 + i) }, false)
		maybe := 0
		for i := range uint64(100_000) {
			if x.Maybe(hashKey(1<<41 + i)) {
				maybe++
			}
		}
		b.ReportMetric(float64(maybe)/1000, "%false")
		b.ReportMetric(float64(x.Stats().FilterBytes)/(1<<20), "filterMiB")
	})
	b.Run("known", func(b *testing.B) {
		lookup(b, func(i uint64) schemas.EventKey { return hashKey(i * 7919 % benchIDs) }, true)
	})
	b.Run("known-recent", func(b *testing.B) {
		lookup(b, func(i uint64) schemas.EventKey { return hashKey(benchIDs - 1 - i%1000) }, true)
	})
}

// BenchmarkApply adds new IDs to an index of a million, in batches.
func BenchmarkApply(b *testing.B) {
	x, ref, _ := openBench(b)
	defer closeIndex(b, x)
	next := uint64(1 << 42)
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			facts := make([]index.Fact, size)
			for b.Loop() {
				for i := range facts {
					next++
					facts[i] = benchFact(ref, next, now)
				}
				if _, err := x.Apply(facts, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "facts/s")
		})
	}
}

// BenchmarkOpen opens an index of a million IDs: what a restart waits for.
func BenchmarkOpen(b *testing.B) {
	x, _, o := openBench(b)
	closeIndex(b, x)
	for b.Loop() {
		closeIndex(b, open(b, o))
	}
	b.ReportMetric(float64(b.N*benchIDs)/b.Elapsed().Seconds(), "ids/s")
}

// TestLookupAllocs holds a look-up of a new ID to no allocation.
func TestLookupAllocs(t *testing.T) {
	x, ref := openTest(t)
	for i := range 1000 {
		apply(t, x, fact(ref, i, int64(i), now.Add(-time.Duration(i%30)*day)))
	}
	var i uint64
	got := testing.AllocsPerRun(1000, func() {
		i++
		if _, ok, err := x.Lookup(hashKey(1<<40+i), now); ok || err != nil {
			t.Fatalf("key %d: %v, %v", i, ok, err)
		}
	})
	if got >= 1 { // a false answer of a filter costs some
		t.Errorf("look-up of a new ID: %v allocations, want 0", got)
	}
}
