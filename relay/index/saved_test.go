package index_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"hooklog/relay/index"
)

// TestSavedFilters checks when a start can do without a scan: after an orderly
// end for all generations, after a kill for those that were tidied and have not
// grown since.
func TestSavedFilters(t *testing.T) {
	mem := vfs.NewCrashableMem()
	clock := now
	o := options(mem)
	o.Now = func() time.Time { return clock }
	x := open(t, o)
	ref := topicRef(t, x, "webhooks", topicID)
	const n = 400
	for i := range n { // over five generations, the newest last
		apply(t, x, fact(ref, i, int64(i), now.Add(-time.Duration(n-i)*18*day/n)))
	}
	killed := func(x *index.Index) *index.Index {
		t.Helper()
		if err := x.SyncLog(); err != nil {
			t.Fatal(err)
		}
		return open(t, index.Options{Dir: o.Dir, FS: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))}), Now: o.Now})
	}
	check := func(when string, x *index.Index, events, wantScanned int) {
		t.Helper()
		if got := x.Scanned(); got != wantScanned {
			t.Errorf("%s: %d generations were scanned, want %d", when, got, wantScanned)
		}
		if got := x.Stats().IDs; got != int64(events) {
			t.Errorf("%s: %d ids, want %d", when, got, events)
		}
		for i := range events {
			wantOffset(t, x, i, time.Time{}, int64(i))
		}
		for i := range events {
			wantOffset(t, x, n+1000+i, time.Time{}, -1)
		}
	}
	generations := x.Stats().Generations
	if generations < 4 {
		t.Fatalf("%d generations, want several: the test is to have some that are past", generations)
	}

	// A kill before anything was saved: what was written is scanned.
	if _, err := x.Apply(nil, []index.Checkpoint{{Topic: ref, Offset: n}}); err != nil {
		t.Fatal(err)
	}
	y := killed(x)
	check("killed before the filters were saved", y, n, generations)
	closeIndex(t, y)

	maintain := func() {
		t.Helper()
		for range 2 * generations {
			if err := x.Maintain(clock); err != nil {
				t.Fatal(err)
			}
			x.AwaitTidy()
			clock = clock.Add(11 * time.Second)
		}
	}
	maintain()
	y = killed(x)
	check("killed after all past ones were saved", y, n, 1)
	closeIndex(t, y)

	// One that comes late: its generation has to be scanned again, and only that.
	if _, err := x.Apply([]index.Fact{fact(ref, n, n, now.Add(-17*day))}, nil); err != nil {
		t.Fatal(err)
	}
	y = killed(x)
	check("killed before the late fact was written", y, n, 1)
	closeIndex(t, y)
	if _, err := x.Apply(nil, []index.Checkpoint{{Topic: ref, Offset: n + 1}}); err != nil {
		t.Fatal(err)
	}
	y = killed(x)
	check("killed after the late fact was written", y, n+1, 2)
	closeIndex(t, y)
	maintain()
	y = killed(x)
	check("killed before it is tidied again", y, n+1, 2)
	closeIndex(t, y)
	clock = clock.Add(time.Hour)
	maintain()
	y = killed(x)
	check("killed after it was tidied again", y, n+1, 1)
	closeIndex(t, y)

	closeIndex(t, x)
	x = open(t, o)
	check("after an orderly end", x, n+1, 0)
	// What is added to a filter that was loaded is in it and in the next one.
	apply(t, x, fact(ref, n+1, n+1, now))
	check("added to", x, n+2, 0)
	closeIndex(t, x)
	x = open(t, o)
	defer closeIndex(t, x)
	check("added to, and after an orderly end", x, n+2, 0)
}

// TestTidyIsSmall checks that a complete generation has one chunk of the right
// size, however it grew.
func TestTidyIsSmall(t *testing.T) {
	clock := now
	o := options(vfs.NewMem())
	o.Now = func() time.Time { return clock }
	x := open(t, o)
	defer func() { closeIndex(t, x) }()
	ref := topicRef(t, x, "webhooks", topicID)
	const n = 300_000
	facts := make([]index.Fact, 0, n)
	for i := range uint64(n) {
		facts = append(facts, index.Fact{Key: hashKey(i), Topic: ref, Offset: int64(i), Time: now.Add(-20 * day)})
	}
	apply(t, x, facts...)
	apply(t, x, fact(ref, 1, n, now)) // the newest generation is another
	before := x.Stats().FilterBytes
	for range 3 {
		if err := x.Maintain(clock); err != nil {
			t.Fatal(err)
		}
		x.AwaitTidy()
		clock = clock.Add(11 * time.Second)
	}
	after := x.Stats().FilterBytes
	if want := n*20/8 + n*9/8*20/8 + 1024; after > want { // the newest is expected to become as large
		t.Errorf("filters: got %d bytes, %d before, want at most %d", after, before, want)
	}
	check := func() {
		t.Helper()
		for i := uint64(0); i < n; i += 101 {
			if _, ok, err := x.Lookup(hashKey(i), time.Time{}); !ok || err != nil {
				t.Fatalf("event %d: %v, %v; want it known", i, ok, err)
			}
		}
		if got := x.Stats().IDs; got != n+1 {
			t.Errorf("ids: got %d, want %d", got, n+1)
		}
	}
	check()
	closeIndex(t, x)
	x = open(t, o)
	check()
	if got := x.Stats().FilterBytes; got != after {
		t.Errorf("filters after an orderly end: got %d bytes, want %d", got, after)
	}
}

// TestDamagedFilter opens an index whose saved filter is not what was saved.
func TestDamagedFilter(t *testing.T) {
	var log logBuffer
	o := diskOptions(t, &log)
	fill(t, o, 30)
	x := open(t, o)
	if err := x.DamageSavedFilter(); err != nil {
		t.Fatal(err)
	}
	closeIndex(t, x)
	x = open(t, o)
	defer closeIndex(t, x)
	if !log.has(anew) {
		t.Error("no warning that the index is made anew")
	}
}
