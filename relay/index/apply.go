package index

import (
	"time"
)

// Apply takes facts, those of each partition in log order, and checkpoints that
// cover no more than them and the facts of earlier calls. It returns how many
// facts were further copies of events known at another place. Facts and
// checkpoints of a dead topic, and facts older than anything that is
// remembered, are passed over.
//
// Facts answer at once and are written later, at the latest with the next
// checkpoint.
func (x *Index) Apply(facts []Fact, marks []Checkpoint) (copies int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.failure.err(); err != nil {
		return 0, err
	}
	limit := x.now().Add(futureSlack)
	for i := range facts {
		another, err := x.apply(&facts[i], limit)
		if err != nil {
			return copies, err
		}
		if another {
			copies++
		}
		if len(x.pending) >= pendingLimit {
			if err := x.write(nil); err != nil {
				return copies, err
			}
		}
	}
	if len(marks) > 0 {
		if err := x.write(marks); err != nil {
			return copies, err
		}
	}
	return copies, nil
}

// Version changes with every fact that nobody has had a claim for.
func (x *Index) Version() uint64 { return x.version.Load() }

// apply takes one fact, unless its event is known. The caller holds x.mu.
func (x *Index) apply(f *Fact, limit time.Time) (another bool, err error) {
	if !x.alive(f.Topic) {
		return false, nil
	}
	taken := *f
	if taken.Time.After(limit) {
		taken.Time = limit
	}
	if taken.Time.After(x.newest) {
		x.newest = taken.Time
	}
	g := x.generation(x.generationOf(taken.Time))
	if g == nil {
		return false, nil
	}
	if f.Since == x.version.Load() {
		g.add(f.Key)
		return false, x.put(&taken, g.id)
	}
	if f.Since == 0 {
		x.version.Add(1)
	}
	known, ok, replaces, err := x.known(&taken, g.id)
	if err != nil {
		return false, err
	}
	if ok {
		return known.Topic != f.Topic || known.Partition != f.Partition || known.Offset != f.Offset, nil
	}
	if !replaces {
		g.add(f.Key)
	}
	return false, x.put(&taken, g.id)
}

// known returns the fact that already answers for f's event: one within the
// window before f (or after it: facts of several partitions come in any order).
// replaces is whether the key is taken in f's generation by one that does not
// answer: it is dead or too old. The caller holds x.mu.
func (x *Index) known(f *Fact, generation uint32) (_ Fact, ok, replaces bool, err error) {
	window := x.window
	if f.Window > 0 {
		window = min(window, f.Window)
	}
	notBefore := f.Time.Add(-window)
	asked := false
	for _, g := range *x.generations.Load() {
		if !g.filter.Load().has(f.Key) {
			continue
		}
		if !asked {
			asked = true
			if p, ok := x.pending[f.Key]; ok { // Only Apply writes it, under x.mu.
				if p.millis >= notBefore.UnixMilli() && x.alive(p.topic) {
					return p.fact(f.Key), true, false, nil
				}
				replaces = p.generation == generation
			}
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
