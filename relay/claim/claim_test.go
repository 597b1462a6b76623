package claim_test

import (
	"errors"
	"testing"

	"hooklog/relay/claim"
	"hooklog/schemas"
)

var (
	errGone  = errors.New("not in the log")
	position = schemas.Position{Topic: "webhooks", Partition: 3, Offset: 42}
)

func key(id string) schemas.EventKey { return schemas.KeyOf("demo", schemas.EventID(id)) }

// begin claims a key that must be free.
func begin(t *testing.T, table *claim.Table, k schemas.EventKey) *claim.Claim {
	t.Helper()
	c, role := table.Begin(k, 7)
	if role != claim.Owner {
		t.Fatalf("Begin(%s): role %v, want Owner", k, role)
	}
	return c
}

func isDone(c *claim.Claim) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

// TestTransitions takes a claim along a path of steps and says what each step
// must answer, and where the claim ends.
func TestTransitions(t *testing.T) {
	type step struct {
		do   string
		want bool
	}
	f := func(name string, steps []step, wantDone bool, wantPos schemas.Position, wantErr error, wantHeld, wantDoubts int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			table := claim.NewTable(10)
			c := begin(t, table, key("a"))
			for i, s := range steps {
				got := false
				switch s.do {
				case "commit":
					got = table.Commit(c, position)
				case "commit elsewhere":
					got = table.Commit(c, schemas.Position{Topic: "other"})
				case "release":
					got = table.Release(c, errGone)
				case "doubt":
					got = table.Doubt(c)
				case "forget":
					table.Forget(c)
				}
				if got != s.want {
					t.Errorf("step %d, %s: got %v, want %v", i, s.do, got, s.want)
				}
			}
			if got := isDone(c); got != wantDone {
				t.Fatalf("done: got %v, want %v", got, wantDone)
			}
			if wantDone {
				if pos, err := c.Outcome(); pos != wantPos || !errors.Is(err, wantErr) {
					t.Errorf("outcome: got %v, %v; want %v, %v", pos, err, wantPos, wantErr)
				}
			}
			if held, doubts := table.Len(); held != wantHeld || doubts != wantDoubts {
				t.Errorf("held, doubts: got %d, %d; want %d, %d", held, doubts, wantHeld, wantDoubts)
			}
		})
	}
	none := schemas.Position{}
	f("in flight", nil, false, none, nil, 1, 0)
	f("committed", []step{{"commit", true}}, true, position, nil, 1, 0)
	f("committed and forgotten", []step{{"commit", true}, {"forget", false}}, true, position, nil, 0, 0)
	f("forgotten twice", []step{{"commit", true}, {"forget", false}, {"forget", false}}, true, position, nil, 0, 0)
	f("committed twice keeps the first", []step{{"commit", true}, {"commit elsewhere", false}}, true, position, nil, 1, 0)
	f("released", []step{{"release", true}}, true, none, errGone, 0, 0)
	f("released twice", []step{{"release", true}, {"release", false}}, true, none, errGone, 0, 0)
	f("release after commit", []step{{"commit", true}, {"release", false}}, true, position, nil, 1, 0)
	f("commit after release", []step{{"release", true}, {"commit", false}}, true, none, errGone, 0, 0)
	f("in doubt", []step{{"doubt", true}}, false, none, nil, 1, 1)
	f("in doubt twice", []step{{"doubt", true}, {"doubt", false}}, false, none, nil, 1, 1)
	f("late commit after doubt", []step{{"doubt", true}, {"commit", true}}, true, position, nil, 1, 0)
	f("release after doubt", []step{{"doubt", true}, {"release", true}}, true, none, errGone, 0, 0)
	f("doubt after commit", []step{{"commit", true}, {"doubt", false}}, true, position, nil, 1, 0)
	f("doubt after release", []step{{"release", true}, {"doubt", false}}, true, none, errGone, 0, 0)
}

// TestJoin checks who joins what: a claim answers for its event until it is
// forgotten or released.
func TestJoin(t *testing.T) {
	table := claim.NewTable(10)
	first := begin(t, table, key("a"))
	joins := func(when string) {
		t.Helper()
		c, role := table.Begin(key("a"), 99)
		if role != claim.Joined || c != first {
			t.Fatalf("Begin %s: got %p as %v, want the first claim %p, Joined", when, c, role, first)
		}
		if c.BodySum() != 7 || c.Key() != key("a") {
			t.Errorf("joined claim: body sum %d of %s, want the owner's 7 of %s", c.BodySum(), c.Key(), key("a"))
		}
	}
	joins("in flight")
	table.Doubt(first)
	joins("in doubt")
	table.Commit(first, position)
	joins("committed")
	table.Forget(first)
	second := begin(t, table, key("a"))
	table.Forget(first) // a late second call must not remove the new claim
	if c, role := table.Begin(key("a"), 0); role != claim.Joined || c != second {
		t.Errorf("Begin after the old claim was forgotten again: got %p as %v, want %p, Joined", c, role, second)
	}
	table.Release(second, errGone)
	begin(t, table, key("a"))
}

func TestFull(t *testing.T) {
	table := claim.NewTable(2)
	a := begin(t, table, key("a"))
	begin(t, table, key("b"))
	if c, role := table.Begin(key("c"), 0); c != nil || role != claim.Full {
		t.Errorf("Begin in a full table: got %v, %v; want nil, Full", c, role)
	}
	if _, role := table.Begin(key("a"), 0); role != claim.Joined {
		t.Errorf("Begin of a held key in a full table: got %v, want Joined", role)
	}
	table.Commit(a, position)
	if _, role := table.Begin(key("c"), 0); role != claim.Full {
		t.Errorf("Begin while the committed claim is not forgotten: got %v, want Full", role)
	}
	table.Forget(a)
	begin(t, table, key("c"))
}

func TestPanics(t *testing.T) {
	f := func(name string, do func(*claim.Table, *claim.Claim)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			table := claim.NewTable(1)
			c := begin(t, table, key("a"))
			defer func() {
				if recover() == nil {
					t.Error("no panic, want one")
				}
			}()
			do(table, c)
		})
	}
	f("forget in flight", func(table *claim.Table, c *claim.Claim) { table.Forget(c) })
	f("forget in doubt", func(table *claim.Table, c *claim.Claim) { table.Doubt(c); table.Forget(c) })
	f("forget released", func(table *claim.Table, c *claim.Claim) { table.Release(c, errGone); table.Forget(c) })
	f("release without a reason", func(table *claim.Table, c *claim.Claim) { table.Release(c, nil) })
}

// TestBeginAllocs keeps the cost of a claim known: the claim and its channel.
func TestBeginAllocs(t *testing.T) {
	table := claim.NewTable(10)
	k := key("a")
	got := testing.AllocsPerRun(1000, func() {
		c, _ := table.Begin(k, 0)
		table.Commit(c, position)
		table.Forget(c)
	})
	if got > 2 {
		t.Errorf("Begin, Commit, Forget: %v allocations, want at most 2", got)
	}
	begin(t, table, k)
	if got := testing.AllocsPerRun(1000, func() { table.Begin(k, 0) }); got != 0 {
		t.Errorf("joining: %v allocations, want 0", got)
	}
}

func BenchmarkBegin(b *testing.B) {
	b.ReportAllocs()
	table := claim.NewTable(1 << 20)
	var n uint64
	for b.Loop() {
		n++
		k := schemas.EventKey{byte(n), byte(n >> 8), byte(n >> 16), 15: byte(n)}
		c, _ := table.Begin(k, 0)
		table.Commit(c, position)
		table.Forget(c)
	}
}
