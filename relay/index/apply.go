package index

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// batched is a fact that the batch at hand writes.
type batched struct {
	generation uint32
	fact       Fact
}

// Apply takes facts, those of each partition in log order, and checkpoints that
// cover no more than them and the facts of earlier calls. It returns how many
// facts were further copies of events known at another place. Facts and
// checkpoints of a dead topic, and facts older than anything that is
// remembered, are passed over.
func (x *Index) Apply(facts []Fact, marks []Checkpoint) (copies int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.failure.err(); err != nil {
		return 0, err
	}
	b := x.db.NewBatch()
	defer b.Close()
	clear(x.batch)
	limit := x.now().Add(futureSlack)
	for i := range facts {
		another, err := x.apply(b, facts[i], limit, len(facts) > 1)
		if err != nil {
			return copies, err
		}
		if another {
			copies++
		}
	}
	for _, m := range marks {
		if !x.alive(m.Topic) {
			continue
		}
		if err := b.Set(checkpointKey(m.Topic, m.Partition), checkpointValue(m), nil); err != nil {
			return copies, x.failed("write checkpoints", err)
		}
	}
	if b.Empty() {
		return copies, nil
	}
	return copies, x.commit("write facts", b)
}

// apply adds one fact to a batch, unless its event is known. The caller holds
// x.mu.
func (x *Index) apply(b *pebble.Batch, f Fact, limit time.Time, more bool) (another bool, err error) {
	if !x.alive(f.Topic) {
		return false, nil
	}
	if f.Time.After(limit) {
		f.Time = limit
	}
	if f.Time.After(x.newest) {
		x.newest = f.Time
	}
	g := x.generation(x.generationOf(f.Time))
	if g == nil {
		return false, nil
	}
	known, ok, replaces, err := x.known(&f, g.id)
	if err != nil {
		return false, err
	}
	if ok {
		return known.Topic != f.Topic || known.Partition != f.Partition || known.Offset != f.Offset, nil
	}
	if !replaces {
		g.filter.add(f.Key)
		g.ids.Add(1)
	}
	var key [factKeySize]byte
	var value [factValueSize]byte
	if err := b.Set(appendFactKey(key[:0], g.id, f.Key), appendFactValue(value[:0], &f), nil); err != nil {
		return false, x.failed("write facts", err)
	}
	if more {
		x.batch[f.Key] = batched{generation: g.id, fact: f}
	}
	return false, nil
}

// known returns the fact that already answers for f's event: one within the
// window before f (or after it: facts of several partitions come in any order),
// in the store or earlier in the batch. replaces is whether the key is taken in
// f's generation by one that does not answer: it is dead or too old.
func (x *Index) known(f *Fact, generation uint32) (_ Fact, ok, replaces bool, err error) {
	notBefore := f.Time.Add(-x.window)
	if e, ok := x.batch[f.Key]; ok {
		if !e.fact.Time.Before(notBefore) {
			return e.fact, true, false, nil
		}
		replaces = e.generation == generation
	}
	for _, g := range *x.generations.Load() {
		if !g.filter.has(f.Key) {
			continue
		}
		old, found, err := x.get(g.id, f.Key)
		if err != nil {
			return Fact{}, false, false, err
		}
		if !found {
			continue
		}
		if !old.Time.Before(notBefore) && x.alive(old.Topic) {
			return old, true, false, nil
		}
		replaces = replaces || g.id == generation
	}
	return Fact{}, false, replaces, nil
}
