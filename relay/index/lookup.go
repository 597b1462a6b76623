package index

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"hooklog/schemas"
)

// Lookup returns where the log holds an event whose record is not older than
// notBefore. ok is false if the index does not know it.
func (x *Index) Lookup(key schemas.EventKey, notBefore time.Time) (f Fact, ok bool, err error) {
	asked := false
	for _, g := range *x.generations.Load() {
		if !g.filter.Load().has(key) {
			continue
		}
		if !asked {
			asked = true
			if p, ok := x.pendingFact(key); ok && p.millis >= notBefore.UnixMilli() && x.alive(p.topic) {
				return p.fact(key), true, nil
			}
		}
		f, found, err := x.get(g.id, key)
		if err != nil {
			return Fact{}, false, err
		}
		if found && !f.Time.Before(notBefore) && x.alive(f.Topic) {
			return f, true, nil
		}
	}
	// A store that has failed may miss what it has taken.
	return Fact{}, false, x.failure.err()
}

// Has reports whether the index has a fact of an event at exactly that place. It
// need not be the one that Lookup returns: an event that came again after its
// window has several.
func (x *Index) Has(f Fact) (bool, error) {
	same := func(o Fact) bool { return o.Topic == f.Topic && o.Partition == f.Partition && o.Offset == f.Offset }
	if p, ok := x.pendingFact(f.Key); ok && same(p.fact(f.Key)) {
		return true, nil
	}
	for _, g := range *x.generations.Load() {
		if !g.filter.Load().has(f.Key) {
			continue
		}
		if old, found, err := x.get(g.id, f.Key); err != nil || found && same(old) {
			return err == nil, err
		}
	}
	return false, x.failure.err()
}

// get returns the fact of a key in one generation, dead or alive.
func (x *Index) get(generation uint32, key schemas.EventKey) (Fact, bool, error) {
	var stack [factKeySize]byte
	v, closer, err := x.db.Get(appendFactKey(stack[:0], generation, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return Fact{}, false, nil
	}
	if err != nil {
		return Fact{}, false, x.failed("look up", err)
	}
	f, ok := parseFactValue(key, v)
	if err := closer.Close(); err != nil {
		return Fact{}, false, x.failed("look up", err)
	}
	if !ok {
		err := fmt.Errorf("index: malformed fact of %s", key)
		x.failure.damaged(err)
		return Fact{}, false, err
	}
	return f, true, nil
}

// alive reports whether a reference still stands for a topic.
func (x *Index) alive(ref TopicRef) bool {
	_, ok := (*x.topics.Load())[ref]
	return ok
}

// Position returns a fact's place in the log. The topic's name is empty if the
// fact is dead.
func (x *Index) Position(f Fact) schemas.Position {
	return schemas.Position{Topic: (*x.topics.Load())[f.Topic].name, Partition: f.Partition, Offset: f.Offset}
}

// Facts calls f for every fact that answers, in no particular order, as the
// index is at the moment; it may be used meanwhile. It stops at f's first error
// and returns it.
func (x *Index) Facts(f func(Fact) error) (err error) {
	if !x.readOnly {
		x.mu.Lock()
		err := x.failure.err()
		if err == nil {
			err = x.write(nil)
		}
		x.mu.Unlock()
		if err != nil {
			return err
		}
	}
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindFact}, UpperBound: []byte{kindFact + 1}})
	if err != nil {
		return x.failed("read facts", err)
	}
	defer func() {
		if e := it.Close(); err == nil && e != nil {
			err = x.failed("read facts", e)
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		fact, ok := parseFactValue(schemas.EventKey(it.Key()[5:]), it.Value())
		if !ok {
			err := fmt.Errorf("index: malformed fact %x", it.Key())
			x.failure.damaged(err)
			return err
		}
		if !x.alive(fact.Topic) {
			continue
		}
		if err := f(fact); err != nil {
			return err
		}
	}
	return nil // An error of the iterator comes with Close.
}
