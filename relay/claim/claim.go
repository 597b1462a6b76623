// Package claim decides who may produce an event now, and who waits for whom.
//
// The simple idea: at most one claim exists per event key, and only the request
// that made it may produce. What makes it hard is that the outcome of a produce
// is not known when the request that made it gives up, and that a fact is not
// readable in the index the moment it is known. Hence two invariants:
//
//  1. A claim leaves the table only when its outcome is certain: committed and
//     readable in the index (Forget), or proven absent from the log (Release).
//     A deadline that passes, a client that goes away or an error that proves
//     nothing changes no claim.
//  2. Whoever looks an event up in the index holds its claim. A key that is in
//     neither the table nor the index is therefore in nobody's hands, and one
//     that moves from the table to the index is at no moment in neither.
//
// The package is pure: no I/O, no clock, no goroutine.
package claim

import (
	"sync"
	"sync/atomic"

	"hooklog/schemas"
)

// State is where a claim stands.
type State uint8

const (
	// InFlight: the owner is looking it up or has handed it to the producer.
	InFlight State = iota
	// InDoubt: the producer gave up with an error that does not prove that
	// the record is absent.
	InDoubt
	// Committed: the record is in the log.
	Committed
	// Released: the record is not in the log and will not be.
	Released
)

// Claim is one event in somebody's hands.
type Claim struct {
	key     schemas.EventKey
	bodySum uint32
	done    chan struct{}

	// Guarded by the shard's mutex until done is closed, immutable after.
	state    State
	position schemas.Position
	err      error
	left     bool
}

// Key returns the event's key.
func (c *Claim) Key() schemas.EventKey { return c.key }

// BodySum returns the owner's schemas.BodySum.
func (c *Claim) BodySum() uint32 { return c.bodySum }

// Left reports whether the owner had left when the outcome became certain. It
// may be called only after Done is closed.
func (c *Claim) Left() bool { return c.left }

// Done is closed when the outcome is certain. A claim in doubt is not done.
func (c *Claim) Done() <-chan struct{} { return c.done }

// Outcome returns the event's position if the log holds it, else the error it
// was released with. It may be called only after Done is closed.
func (c *Claim) Outcome() (schemas.Position, error) { return c.position, c.err }

// shards keeps the chance low that two of a few thousand concurrent requests
// wait for the same mutex.
const shards = 64

// Table holds the claims. It is safe for concurrent use.
type Table struct {
	limit  int64
	held   atomic.Int64
	doubts atomic.Int64
	shards [shards]shard
}

type shard struct {
	mu     sync.Mutex
	claims map[schemas.EventKey]*Claim
}

// NewTable returns an empty table that holds at most limit claims.
func NewTable(limit int) *Table {
	t := &Table{limit: int64(limit)}
	for i := range t.shards {
		t.shards[i].claims = make(map[schemas.EventKey]*Claim)
	}
	return t
}

// Role is what Begin made of the caller.
type Role uint8

const (
	// Full: the table is full and nothing was claimed.
	Full Role = iota
	// Owner: the claim is the caller's, who settles it by exactly one of
	// Commit, Doubt and Release on every path.
	Owner
	// Joined: another request owns it; the caller waits for Done.
	Joined
)

// Begin claims an event or joins the claim that exists.
func (t *Table) Begin(key schemas.EventKey, bodySum uint32) (*Claim, Role) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.claims[key]; ok {
		return c, Joined
	}
	if t.held.Add(1) > t.limit {
		t.held.Add(-1)
		return nil, Full
	}
	c := &Claim{key: key, bodySum: bodySum, done: make(chan struct{})}
	s.claims[key] = c
	return c, Owner
}

// Commit records that the log holds the event at that position, and wakes
// everyone who waits. The claim stays in the table, where it answers for the
// event, until Forget. On a claim that is already settled it does nothing and
// returns false.
func (t *Table) Commit(c *Claim, pos schemas.Position) bool {
	s := t.shard(c.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.settle(c, Committed, pos, nil)
}

// Release records that the log does not hold the event, and why, and wakes
// everyone who waits; from then on a copy may claim it anew. The error is not
// nil. On a claim that is already settled it does nothing and returns false.
func (t *Table) Release(c *Claim, err error) bool {
	if err == nil {
		panic("BUG: claim released without a reason")
	}
	s := t.shard(c.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.settle(c, Released, schemas.Position{}, err) {
		return false
	}
	t.remove(s, c)
	return true
}

// Doubt records that the log may or may not hold the event. Who waits goes on
// waiting. On a claim that is not in flight it does nothing and returns false.
func (t *Table) Doubt(c *Claim) bool {
	s := t.shard(c.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state != InFlight {
		return false
	}
	c.state = InDoubt
	t.doubts.Add(1)
	return true
}

// Leave records that the owner no longer waits for the outcome. On a claim that
// is settled it does nothing and returns false: the owner has the outcome after
// all.
func (t *Table) Leave(c *Claim) bool {
	s := t.shard(c.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == Committed || c.state == Released {
		return false
	}
	c.left = true
	return true
}

// Forget removes a committed claim, whose fact the index now answers for. It
// may be called again.
func (t *Table) Forget(c *Claim) {
	s := t.shard(c.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state != Committed {
		panic("BUG: claim forgotten that is not committed")
	}
	t.remove(s, c)
}

// Len returns how many claims are held, and how many of them are in doubt.
func (t *Table) Len() (held, doubts int) {
	return int(t.held.Load()), int(t.doubts.Load())
}

// settle moves a claim to its last state, once. The caller holds the mutex of
// the claim's shard.
func (t *Table) settle(c *Claim, to State, pos schemas.Position, err error) bool {
	switch c.state {
	case InDoubt:
		t.doubts.Add(-1)
	case InFlight:
	case Committed, Released:
		return false
	}
	c.state, c.position, c.err = to, pos, err
	close(c.done)
	return true
}

// remove takes a claim out of the table, unless a later one of its key has
// taken its place. The caller holds s.mu.
func (t *Table) remove(s *shard, c *Claim) {
	if s.claims[c.key] == c {
		delete(s.claims, c.key)
		t.held.Add(-1)
	}
}

func (t *Table) shard(key schemas.EventKey) *shard {
	return &t.shards[key[15]%shards]
}
