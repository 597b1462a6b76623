package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"hooklog/schemas"
)

// load reads the store's description and the filters that were saved, and
// makes the others from the keys.
func (x *Index) load() error {
	topics := make(map[TopicRef]topic)
	x.topics.Store(&topics)
	x.generations.Store(&[]*generation{})
	x.nextRef = 1

	meta, closer, err := x.db.Get([]byte{kindMeta})
	if errors.Is(err, pebble.ErrNotFound) {
		if x.readOnly {
			return fmt.Errorf("%w: it is empty", errUnusable)
		}
		return x.db.Set([]byte{kindMeta}, x.meta(x.nextRef), pebble.NoSync)
	}
	if err != nil {
		return err
	}
	next, err := x.checkMeta(meta)
	if err := errors.Join(err, closer.Close()); err != nil {
		return err
	}
	x.nextRef = next
	if err := x.loadTopics(topics); err != nil {
		return err
	}
	if err := x.loadFilters(); err != nil {
		return err
	}
	if err := x.loadFacts(); err != nil {
		return err
	}
	if gens := *x.generations.Load(); len(gens) > 0 {
		// The newest time itself is not kept; the start of its generation is
		// early enough to expire nothing too soon.
		x.newest = time.UnixMilli(int64(gens[0].id) * x.width.Milliseconds())
	}
	if x.readOnly {
		return nil
	}
	return x.expire(x.now())
}

// scan calls f for every entry from a key to the next kind of key.
func (x *Index) scan(kind byte, f func(it *pebble.Iterator) error) (err error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		if err := f(it); err != nil {
			return err
		}
	}
	return it.Error()
}

func malformed(key []byte) error { return fmt.Errorf("%w: malformed entry %x", errUnusable, key) }

func (x *Index) loadTopics(topics map[TopicRef]topic) error {
	return x.scan(kindTopic, func(it *pebble.Iterator) error {
		k, v := it.Key(), it.Value()
		if len(k) != topicKeySize || len(v) <= len(TopicID{}) {
			return malformed(k)
		}
		topics[TopicRef(binary.BigEndian.Uint32(k[1:]))] = topic{id: TopicID(v[:16]), name: string(v[16:])}
		return nil
	})
}

func (x *Index) loadFilters() error {
	var s *savedFilter
	var of uint32
	finish := func() error {
		if s == nil {
			return nil
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("%w: saved filter of generation %d: %w", errUnusable, of, err)
		}
		g := x.insert(0, of, s.filter) // They come in order, the newest last.
		g.ids.Store(s.ids)
		g.saved = true
		return nil
	}
	err := x.scan(kindSaved, func(it *pebble.Iterator) error {
		k := it.Key()
		if len(k) != savedKeySize {
			return malformed(k)
		}
		if id := binary.BigEndian.Uint32(k[1:]); s == nil || id != of {
			if err := finish(); err != nil {
				return err
			}
			s, of = &savedFilter{}, id
		}
		if err := s.read(binary.BigEndian.Uint32(k[5:]), it.Value()); err != nil {
			return fmt.Errorf("%w: saved filter of generation %d: %w", errUnusable, of, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return finish()
}

// storedFactBytes is about what a fact takes on the disk.
const storedFactBytes = 56

// loadFacts reads the keys of the generations whose filters are not saved.
func (x *Index) loadFacts() error {
	var g *generation
	return x.scan(kindFact, func(it *pebble.Iterator) error {
		for it.Valid() {
			k := it.Key()
			if len(k) != factKeySize {
				return malformed(k)
			}
			id := binary.BigEndian.Uint32(k[1:])
			if g == nil || g.id != id {
				g = x.generation(id)
				if g.ids.Load() == 0 { // not one that has been loaded
					size, err := x.db.EstimateDiskUsage(generationStart(id), generationStart(id+1))
					if err != nil {
						return err
					}
					g.filter.Store(newFilter(int(size / storedFactBytes)))
				}
			}
			if !g.saved {
				g.add(schemas.EventKey(k[5:]))
				return nil
			}
			it.SeekGE(generationStart(id + 1))
		}
		return nil
	})
}

// checkMeta compares the store's description with what is asked for.
func (x *Index) checkMeta(meta []byte) (next TopicRef, err error) {
	if len(meta) != metaSize || binary.BigEndian.Uint32(meta) != layoutVersion {
		return 0, fmt.Errorf("%w: layout %x, want version %d", errUnusable, meta, layoutVersion)
	}
	width := time.Duration(binary.BigEndian.Uint64(meta[4:])) * time.Millisecond
	window := time.Duration(binary.BigEndian.Uint64(meta[12:])) * time.Millisecond
	if x.readOnly {
		x.width, x.window = width, window
	}
	if width != x.width || window.Milliseconds() != x.window.Milliseconds() {
		return 0, fmt.Errorf("%w: made for a window of %v, want %v", errUnusable, window, x.window)
	}
	return TopicRef(binary.BigEndian.Uint32(meta[20:])), nil
}

func (x *Index) meta(next TopicRef) []byte {
	b := binary.BigEndian.AppendUint32(nil, layoutVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(x.width.Milliseconds()))
	b = binary.BigEndian.AppendUint64(b, uint64(x.window.Milliseconds()))
	return binary.BigEndian.AppendUint32(b, uint32(next))
}
