package claim_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"hooklog/relay/claim"
	"hooklog/schemas"
)

// TestConcurrentCopies sends many copies of each event at once: exactly one of
// those that come before its outcome owns it, and all others share that.
func TestConcurrentCopies(t *testing.T) {
	const events, copies = 200, 16
	table := claim.NewTable(events)
	outcomes := []func(c *claim.Claim, pos schemas.Position){
		func(c *claim.Claim, pos schemas.Position) { table.Commit(c, pos) },
		func(c *claim.Claim, pos schemas.Position) { table.Doubt(c); table.Commit(c, pos) },
	}
	var wg sync.WaitGroup
	owners := make([]atomic.Int32, events)
	for e := range events {
		k := key(string(rune('a' + e)))
		want := schemas.Position{Topic: "webhooks", Offset: int64(e)}
		start := make(chan struct{})
		for range copies {
			wg.Go(func() {
				<-start
				c, role := table.Begin(k, 0)
				switch role {
				case claim.Owner:
					owners[e].Add(1)
					outcomes[e%2](c, want)
				case claim.Joined:
					<-c.Done()
				case claim.Full:
					t.Errorf("event %d: the table is full", e)
					return
				}
				if pos, err := c.Outcome(); pos != want || err != nil {
					t.Errorf("event %d: outcome %v, %v; want %v", e, pos, err, want)
				}
			})
		}
		close(start)
	}
	wg.Wait()
	for e := range owners {
		if n := owners[e].Load(); n != 1 {
			t.Errorf("event %d: %d owners, want 1", e, n)
		}
	}
	if held, doubts := table.Len(); held != events || doubts != 0 {
		t.Errorf("held, doubts: got %d, %d; want %d, 0", held, doubts, events)
	}
}

// TestConcurrentSettling lets two settle one claim at once, which happens when
// an acknowledgement comes while its claim is being resolved from the log: one
// of them wins and everybody sees its outcome; copies begin all the while.
func TestConcurrentSettling(t *testing.T) {
	table := claim.NewTable(4)
	k := key("a")
	for range 2000 {
		c := begin(t, table, k)
		var committed, released atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() { committed.Store(table.Commit(c, position)) })
		wg.Go(func() { table.Doubt(c); released.Store(table.Release(c, errGone)) })
		wg.Go(func() {
			other, role := table.Begin(k, 0)
			if role == claim.Owner { // only after the release
				<-c.Done()
				table.Release(other, errGone)
			}
		})
		wg.Wait()
		pos, err := c.Outcome()
		if committed.Load() == released.Load() || committed.Load() != (err == nil) || committed.Load() != (pos == position) {
			t.Fatalf("committed %v, released %v, outcome %v, %v; want exactly one and its outcome",
				committed.Load(), released.Load(), pos, err)
		}
		if committed.Load() {
			table.Forget(c)
		}
		if held, doubts := table.Len(); held != 0 || doubts != 0 {
			t.Fatalf("held, doubts: got %d, %d; want 0, 0", held, doubts)
		}
	}
}

// modelClaim is a claim as the model sees it.
type modelClaim struct {
	real  *claim.Claim
	key   int
	state claim.State
}

// TestModel compares the table with a map and a list.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		table := claim.NewTable(limit)
		held := make(map[int]*modelClaim)
		var all []*modelClaim // every claim there ever was

		pick := func(t *rapid.T) *modelClaim {
			if len(all) == 0 {
				t.Skip("no claim yet")
			}
			return rapid.SampledFrom(all).Draw(t, "claim")
		}
		unsettled := func(m *modelClaim) bool { return m.state == claim.InFlight || m.state == claim.InDoubt }
		answer := func(t *rapid.T, what string, got, want bool) {
			if got != want {
				t.Fatalf("%s: got %v, want %v", what, got, want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				k := rapid.IntRange(0, 5).Draw(t, "key")
				c, role := table.Begin(key(string(rune('a'+k))), uint32(k))
				switch m := held[k]; {
				case m != nil:
					if role != claim.Joined || c != m.real {
						t.Fatalf("Begin(%d): got %p, %v; want %p, Joined", k, c, role, m.real)
					}
				case len(held) == limit:
					if role != claim.Full || c != nil {
						t.Fatalf("Begin(%d): got %p, %v; want nil, Full", k, c, role)
					}
				default:
					if role != claim.Owner || c == nil {
						t.Fatalf("Begin(%d): got %p, %v; want a claim, Owner", k, c, role)
					}
					m := &modelClaim{real: c, key: k}
					held[k], all = m, append(all, m)
				}
			},
			"commit": func(t *rapid.T) {
				m := pick(t)
				answer(t, "Commit", table.Commit(m.real, position), unsettled(m))
				if unsettled(m) {
					m.state = claim.Committed
				}
			},
			"release": func(t *rapid.T) {
				m := pick(t)
				answer(t, "Release", table.Release(m.real, errGone), unsettled(m))
				if unsettled(m) {
					m.state = claim.Released
					delete(held, m.key)
				}
			},
			"doubt": func(t *rapid.T) {
				m := pick(t)
				answer(t, "Doubt", table.Doubt(m.real), m.state == claim.InFlight)
				if m.state == claim.InFlight {
					m.state = claim.InDoubt
				}
			},
			"forget": func(t *rapid.T) {
				m := pick(t)
				if m.state != claim.Committed {
					t.Skip("not committed")
				}
				table.Forget(m.real)
				if held[m.key] == m {
					delete(held, m.key)
				}
			},
			"": func(t *rapid.T) {
				doubts := 0
				for _, m := range all {
					if m.state == claim.InDoubt {
						doubts++
					}
					answer(t, "done", isDone(m.real), !unsettled(m))
					if !unsettled(m) {
						if _, err := m.real.Outcome(); errors.Is(err, errGone) != (m.state == claim.Released) {
							t.Fatalf("outcome: %v in state %v", err, m.state)
						}
					}
				}
				if h, d := table.Len(); h != len(held) || d != doubts {
					t.Fatalf("held, doubts: got %d, %d; want %d, %d", h, d, len(held), doubts)
				}
			},
		})
	})
}
