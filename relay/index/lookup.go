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
	for _, g := range *x.generations.Load() {
		if !g.filter.has(key) {
			continue
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
