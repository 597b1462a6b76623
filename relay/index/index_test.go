package index_test

import (
	"errors"
	iofs "io/fs"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"hooklog/relay/index"
	"hooklog/schemas"
)

func TestApplyLookup(t *testing.T) {
	x, ref := openTest(t)
	want := index.Fact{
		Key: key(1), Topic: ref, Partition: 5, Offset: 1 << 40, Time: now.Add(123 * time.Millisecond), BodySum: 0xdeadbeef,
	}
	if copies := apply(t, x, want); copies != 0 {
		t.Errorf("apply: %d copies, want 0", copies)
	}
	got, ok, err := x.Lookup(want.Key, now)
	if err != nil || !ok {
		t.Fatalf("look up: %v, %v", ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fact (-want +got):\n%s", diff)
	}
	if got, want := x.Position(got), (schemas.Position{Topic: "webhooks", Partition: 5, Offset: 1 << 40}); got != want {
		t.Errorf("position: got %v, want %v", got, want)
	}
	wantOffset(t, x, 1, want.Time.Add(time.Millisecond), -1)
	wantOffset(t, x, 2, time.Time{}, -1)
	if copies := apply(t, x, want); copies != 0 {
		t.Errorf("the same record again: %d copies, want 0", copies)
	}
	if got := x.Stats().IDs; got != 1 {
		t.Errorf("ids: got %d, want 1", got)
	}
}

// TestFirstCopyWins applies copies of one event in every way they can come.
func TestFirstCopyWins(t *testing.T) {
	old := now.Add(-31 * day)
	f := func(name string, batches [][]index.Fact, wantCopies int, wantOffsets ...int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			x := open(t, options(fs))
			ref := topicRef(t, x, "webhooks", topicID)
			copies := 0
			for _, batch := range batches {
				for i := range batch {
					batch[i].Topic = ref
				}
				copies += apply(t, x, batch...)
			}
			if copies != wantCopies {
				t.Errorf("copies: got %d, want %d", copies, wantCopies)
			}
			for i, want := range wantOffsets {
				wantOffset(t, x, i, now.Add(-30*day), want)
			}
			// The same answers after the filters were rebuilt.
			closeIndex(t, x)
			x = open(t, options(fs))
			defer closeIndex(t, x)
			for i, want := range wantOffsets {
				wantOffset(t, x, i, now.Add(-30*day), want)
			}
			// And after the log was read again.
			for _, batch := range batches {
				apply(t, x, batch...)
			}
			for i, want := range wantOffsets {
				wantOffset(t, x, i, now.Add(-30*day), want)
			}
		})
	}
	at := func(i int, offset int64, when time.Time) index.Fact { return fact(0, i, offset, when) }
	f("within a batch", [][]index.Fact{{at(0, 10, now), at(1, 11, now), at(0, 12, now)}}, 1, 10, 11)
	f("across batches", [][]index.Fact{{at(0, 10, now)}, {at(0, 12, now)}}, 1, 10)
	f("across generations", [][]index.Fact{{at(0, 10, now.Add(-20*day))}, {at(0, 12, now)}}, 1, 10)
	f("across generations within a batch", [][]index.Fact{{at(0, 10, now.Add(-20*day)), at(0, 12, now)}}, 1, 10)
	f("a copy that is older by its time", [][]index.Fact{{at(0, 10, now)}, {at(0, 12, now.Add(-20*day))}}, 1, 10)
	f("a first copy before the window", [][]index.Fact{{at(0, 10, old)}, {at(0, 12, now)}}, 0, 12)
	f("a first copy before the window, within a batch", [][]index.Fact{{at(0, 10, old), at(0, 12, now), at(0, 13, now)}}, 1, 12)
	f("a time from before 1970", [][]index.Fact{{at(0, 10, time.Unix(-1000, 0))}, {at(0, 12, now)}}, 0, 12)
}

// TestFuture checks that records from the future are kept as if they were an
// hour ahead: they neither expire what is recent nor replace first copies.
func TestFuture(t *testing.T) {
	x, ref := openTest(t)
	apply(t, x, fact(ref, 1, 10, now))
	if copies := apply(t, x, fact(ref, 1, 11, now.Add(900*day)), fact(ref, 2, 12, now.Add(900*day))); copies != 1 {
		t.Errorf("copies: got %d, want 1", copies)
	}
	if copies := apply(t, x, fact(ref, 2, 13, now)); copies != 1 {
		t.Errorf("copies of a record from the future: got %d, want 1", copies)
	}
	if err := x.Maintain(now.Add(900 * day)); err != nil {
		t.Fatal(err)
	}
	wantOffset(t, x, 1, now.Add(-30*day), 10)
	wantOffset(t, x, 2, now.Add(-30*day), 12)
	f, _, err := x.Lookup(key(2), time.Time{})
	if want := now.Add(time.Hour); err != nil || !f.Time.Equal(want) {
		t.Errorf("time: got %v, %v; want %v", f.Time, err, want)
	}
}

func TestTopics(t *testing.T) {
	fs := vfs.NewMem()
	x := open(t, options(fs))
	a := topicRef(t, x, "a", index.TopicID{1})
	b := topicRef(t, x, "b", index.TopicID{2})
	if again := topicRef(t, x, "a", index.TopicID{1}); again != a || a == b {
		t.Fatalf("references: a %d, a again %d, b %d; want equal, equal, another", a, again, b)
	}
	mark := index.Checkpoint{Topic: a, Partition: 3, Offset: 99, Epoch: 4}
	if _, err := x.Apply([]index.Fact{fact(a, 1, 10, now), fact(b, 2, 20, now)}, []index.Checkpoint{mark}); err != nil {
		t.Fatal(err)
	}

	// Made anew: dead at once, and the new topic starts from nothing.
	a2 := topicRef(t, x, "a", index.TopicID{9})
	if a2 == a {
		t.Fatalf("reference of the new topic: %d, as the old one", a2)
	}
	wantOffset(t, x, 1, time.Time{}, -1)
	wantOffset(t, x, 2, time.Time{}, 20)
	wantMarks(t, x, a, nil)
	wantMarks(t, x, a2, nil)

	// What is still under way for the old one changes nothing.
	if copies := apply(t, x, fact(a, 1, 11, now), fact(a2, 1, 5, now), fact(a2, 1, 6, now)); copies != 1 {
		t.Errorf("copies: got %d, want 1", copies)
	}
	wantOffset(t, x, 1, time.Time{}, 5)
	if got := x.Stats().IDs; got != 2 {
		t.Errorf("ids after one fact was replaced: got %d, want 2", got)
	}
	if _, err := x.Apply(nil, []index.Checkpoint{mark}); err != nil {
		t.Fatal(err)
	}
	wantMarks(t, x, a, nil)

	a3, err := x.Reset(a2)
	if err != nil {
		t.Fatal(err)
	}
	wantOffset(t, x, 1, time.Time{}, -1)
	if _, err := x.Reset(a2); err == nil {
		t.Error("reset of a dead reference: no error, want one")
	}
	if again := topicRef(t, x, "a", index.TopicID{9}); again != a3 {
		t.Errorf("reference after the reset: got %d, want %d", again, a3)
	}
	apply(t, x, fact(a3, 1, 7, now))

	closeIndex(t, x)
	x = open(t, options(fs))
	defer closeIndex(t, x)
	wantOffset(t, x, 1, time.Time{}, 7)
	wantOffset(t, x, 2, time.Time{}, 20)
	if again := topicRef(t, x, "a", index.TopicID{9}); again != a3 {
		t.Errorf("reference after reopening: got %d, want %d", again, a3)
	}
	if c := topicRef(t, x, "c", index.TopicID{3}); c == a || c == a2 || c == a3 || c == b {
		t.Errorf("reference of a new topic: %d was used before", c)
	}
}

func wantMarks(t *testing.T, x *index.Index, ref index.TopicRef, want []index.Checkpoint) {
	t.Helper()
	got, err := x.Checkpoints(ref)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[int32]index.Checkpoint)
	for _, c := range want {
		m[c.Partition] = c
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("checkpoints of %d (-want +got):\n%s", ref, diff)
	}
}

func TestCheckpoints(t *testing.T) {
	fs := vfs.NewMem()
	x := open(t, options(fs))
	a, b := topicRef(t, x, "a", index.TopicID{1}), topicRef(t, x, "b", index.TopicID{2})
	marks := []index.Checkpoint{
		{Topic: a, Partition: 0, Offset: 7, Epoch: -1},
		{Topic: a, Partition: 300, Offset: 1 << 50, Epoch: 12},
		{Topic: b, Partition: 0, Offset: 8, Epoch: 0},
	}
	if _, err := x.Apply(nil, marks); err != nil {
		t.Fatal(err)
	}
	moved := index.Checkpoint{Topic: a, Partition: 0, Offset: 9, Epoch: 1}
	if _, err := x.Apply(nil, []index.Checkpoint{moved}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantMarks(t, x, a, []index.Checkpoint{moved, marks[1]})
		wantMarks(t, x, b, marks[2:])
		closeIndex(t, x)
		x = open(t, options(fs))
	}
	closeIndex(t, x)
}

// TestWindowOfFact: a source may remember its IDs for less time than the index
// does. Its events may come again after that, and are then what answers.
func TestWindowOfFact(t *testing.T) {
	for _, written := range []bool{false, true} {
		x, ref := openTest(t)
		put := func(offset int64, at time.Time) (copies int) {
			t.Helper()
			f := fact(ref, 1, offset, at)
			f.Window = time.Hour
			copies = apply(t, x, f)
			if written {
				if _, err := x.Apply(nil, []index.Checkpoint{{Topic: ref, Offset: offset + 1}}); err != nil {
					t.Fatal(err)
				}
			}
			return copies
		}
		for _, c := range []struct {
			after      time.Duration
			wantCopies int
			want       int64
		}{{0, 0, 1}, {59 * time.Minute, 1, 1}, {61 * time.Minute, 0, 3}, {119 * time.Minute, 1, 3}, {48 * time.Hour, 0, 5}} {
			at := now.Add(-3 * day).Add(c.after)
			offset := map[time.Duration]int64{0: 1, 59 * time.Minute: 2, 61 * time.Minute: 3, 119 * time.Minute: 4, 48 * time.Hour: 5}[c.after]
			if got := put(offset, at); got != c.wantCopies {
				t.Errorf("written %v, after %v: %d copies, want %d", written, c.after, got, c.wantCopies)
			}
			wantOffset(t, x, 1, at.Add(-time.Hour), c.want)
		}
	}
}

// TestFacts reads all facts: those that are written, those that are not yet,
// and none that is dead.
func TestFacts(t *testing.T) {
	x, ref := openTest(t)
	dead := topicRef(t, x, "other", index.TopicID{8})
	apply(t, x, fact(ref, 1, 10, now), fact(dead, 2, 20, now))
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	topicRef(t, x, "other", index.TopicID{9})
	apply(t, x, fact(ref, 3, 30, now.Add(-20*day)))
	got := make(map[int64]schemas.EventKey)
	if err := x.Facts(func(f index.Fact) error { got[f.Offset] = f.Key; return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int64]schemas.EventKey{10: key(1), 30: key(3)}, got); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	want := []index.Topic{{Ref: 3, Name: "other", ID: index.TopicID{9}}, {Ref: ref, Name: "webhooks", ID: topicID}}
	if diff := cmp.Diff(want, x.Topics()); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
	stop := errors.New("stop")
	if err := x.Facts(func(index.Fact) error { return stop }); err != stop {
		t.Errorf("facts: %v, want the function's error", err)
	}
}

// TestReadOnly looks at an index without changing it.
func TestReadOnly(t *testing.T) {
	fs := vfs.NewMem()
	o := options(fs)
	if _, err := index.OpenReadOnly(o); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("open what is not there: %v, want ErrNotExist", err)
	}
	o.Window = 10 * day
	x := open(t, o)
	ref := topicRef(t, x, "webhooks", topicID)
	mark := index.Checkpoint{Topic: ref, Offset: 3, Epoch: 1}
	if _, err := x.Apply([]index.Fact{fact(ref, 1, 1, now), fact(ref, 2, 2, now.Add(-9*day))}, []index.Checkpoint{mark}); err != nil {
		t.Fatal(err)
	}
	if _, err := index.OpenReadOnly(o); !errors.Is(err, index.ErrLocked) || index.Unusable(err) {
		t.Errorf("open while it is open: %v, want ErrLocked", err)
	}
	closeIndex(t, x)

	o.Window = 0 // it is as it was made
	for range 2 {
		x, err := index.OpenReadOnly(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Stats(); got.IDs != 2 || x.Window() != 10*day {
			t.Errorf("ids %d, window %v; want 2, 240h", got.IDs, x.Window())
		}
		wantOffset(t, x, 2, time.Time{}, 2)
		wantMarks(t, x, ref, []index.Checkpoint{mark})
		closeIndex(t, x)
	}
	if err := index.Remove(o); err != nil {
		t.Fatal(err)
	}
	if _, err := index.OpenReadOnly(o); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("open what was removed: %v, want ErrNotExist", err)
	}
}

// TestSince: whoever has had an event's claim since it was not known need not be
// asked again, unless somebody else has written meanwhile.
func TestSince(t *testing.T) {
	x, ref := openTest(t)
	own := func(i int, offset int64, since uint64) index.Fact {
		f := fact(ref, i, offset, now)
		f.Since = since
		return f
	}
	since := x.Version()
	if copies := apply(t, x, own(1, 10, since), own(2, 11, since)); copies != 0 {
		t.Errorf("own facts: %d copies, want 0", copies)
	}
	if got := x.Version(); got != since {
		t.Errorf("version after own facts: got %d, want %d still", got, since)
	}
	// Another relay's record of event 3 is followed before our own is settled.
	if copies := apply(t, x, fact(ref, 3, 12, now), own(3, 13, since)); copies != 1 {
		t.Errorf("an own fact of an event that another relay has written: %d copies, want 1", copies)
	}
	// And our own record may be followed before its acknowledgement.
	since = x.Version()
	if copies := apply(t, x, fact(ref, 4, 14, now), own(4, 14, since)); copies != 0 {
		t.Errorf("an own fact that was followed: %d copies, want 0", copies)
	}
	for i, want := range []int64{-1, 10, 11, 12, 14} {
		wantOffset(t, x, i, now, want)
	}
	if got := x.Stats().IDs; got != 4 {
		t.Errorf("ids: got %d, want 4", got)
	}
}
