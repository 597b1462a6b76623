package index

import (
	"time"

	"hooklog/schemas"
)

// pendingLimit is how many facts are gathered in memory before they are
// written: some 15 MiB, and what a kill leaves to be read again takes about a
// second. So many are more than half a memtable, and Pebble takes such a batch
// as it is: one insert into a memtable costs more than all the rest of a fact.
const pendingLimit = 1 << 17

// pending is the facts that are applied and not written yet. They answer like
// all others; a crash loses them, and with them the right to a checkpoint that
// covers them. It has no pointers, so the garbage collector passes it over.
type pending struct {
	millis     int64 // of the record's time
	offset     int64
	topic      TopicRef
	partition  int32
	bodySum    uint32
	generation uint32
}

func (p pending) fact(key schemas.EventKey) Fact {
	return Fact{
		Key: key, Topic: p.topic, Partition: p.partition, Offset: p.offset,
		Time: time.UnixMilli(p.millis).UTC(), BodySum: p.bodySum,
	}
}

// put makes a fact pending. The caller holds x.mu.
func (x *Index) put(f *Fact, generation uint32) error {
	// One that is pending already is dead, or before the window; but it may
	// still answer for a record that is older than f.
	if p, ok := x.pending[f.Key]; ok && p.generation != generation {
		if err := x.write(nil); err != nil {
			return err
		}
	}
	p := pending{
		millis: f.Time.UnixMilli(), offset: f.Offset, topic: f.Topic, partition: f.Partition,
		bodySum: f.BodySum, generation: generation,
	}
	x.pendingMu.Lock()
	x.pending[f.Key] = p
	x.pendingMu.Unlock()
	return nil
}

// pendingFact returns the pending fact of a key.
func (x *Index) pendingFact(key schemas.EventKey) (pending, bool) {
	x.pendingMu.RLock()
	defer x.pendingMu.RUnlock()
	p, ok := x.pending[key]
	return p, ok
}

// write writes all pending facts, and checkpoints, as one batch. A fact can be
// read here or in the store at every moment. The caller holds x.mu.
func (x *Index) write(marks []Checkpoint) error {
	const factSize = factKeySize + factValueSize + 4
	b := x.db.NewBatchWithSize(factSize*len(x.pending) + 1<<10)
	var key [factKeySize]byte
	var value [factValueSize]byte
	for k, p := range x.pending {
		if !x.alive(p.topic) {
			continue
		}
		if err := b.Set(appendFactKey(key[:0], p.generation, k), appendFactValue(value[:0], &p), nil); err != nil {
			return x.failed("write facts", err)
		}
	}
	// A filter that was saved before these facts does not know them.
	var stale []*generation
	for _, g := range *x.generations.Load() {
		if g.saved && g.grown {
			if err := b.DeleteRange(savedStart(g.id), savedStart(g.id+1), nil); err != nil {
				return x.failed("write facts", err)
			}
			stale = append(stale, g)
		}
	}
	for _, m := range marks {
		if !x.alive(m.Topic) {
			continue
		}
		if err := b.Set(checkpointKey(m.Topic, m.Partition), checkpointValue(m), nil); err != nil {
			return x.failed("write checkpoints", err)
		}
	}
	if !b.Empty() {
		if err := x.commit("write facts", b); err != nil {
			return err
		}
	}
	for _, g := range stale {
		g.saved = false
	}
	x.pendingMu.Lock()
	clear(x.pending)
	x.pendingMu.Unlock()
	return nil
}
