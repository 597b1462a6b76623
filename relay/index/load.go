package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"hooklog/schemas"
)

// load reads the store's description and rebuilds the filters from its keys.
func (x *Index) load() error {
	topics := make(map[TopicRef]topic)
	x.topics.Store(&topics)
	x.generations.Store(&[]*generation{})
	x.nextRef = 1

	meta, closer, err := x.db.Get([]byte{kindMeta})
	if errors.Is(err, pebble.ErrNotFound) {
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
	if err := x.scan(topics); err != nil {
		return err
	}
	if gens := *x.generations.Load(); len(gens) > 0 {
		// The newest time itself is not kept; the start of its generation is
		// early enough to expire nothing too soon.
		x.newest = time.UnixMilli(int64(gens[0].id) * x.width.Milliseconds())
	}
	return x.expire(x.now())
}

// scan reads all keys in order: checkpoints, facts, the description, topics.
func (x *Index) scan(topics map[TopicRef]topic) (err error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindCheckpoint}, UpperBound: []byte{kindTopic + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var g *generation
	for it.First(); it.Valid(); it.Next() {
		k := it.Key()
		switch {
		case k[0] == kindFact && len(k) == factKeySize:
			if id := binary.BigEndian.Uint32(k[1:]); g == nil || g.id != id {
				g = x.generation(id)
			}
			g.filter.add(schemas.EventKey(k[5:]))
			g.ids.Add(1)
		case k[0] == kindTopic && len(k) == topicKeySize && len(it.Value()) > len(TopicID{}):
			v := it.Value()
			topics[TopicRef(binary.BigEndian.Uint32(k[1:]))] = topic{id: TopicID(v[:16]), name: string(v[16:])}
		case k[0] == kindCheckpoint && len(k) == checkpointKeySize && len(it.Value()) == checkpointValueSize:
		case k[0] == kindMeta && len(k) == 1:
		default:
			return fmt.Errorf("%w: malformed entry %x", errUnusable, k)
		}
	}
	return it.Error()
}

// checkMeta compares the store's description with what is asked for.
func (x *Index) checkMeta(meta []byte) (next TopicRef, err error) {
	if len(meta) != metaSize || binary.BigEndian.Uint32(meta) != layoutVersion {
		return 0, fmt.Errorf("%w: layout %x, want version %d", errUnusable, meta, layoutVersion)
	}
	width := int64(binary.BigEndian.Uint64(meta[4:]))
	window := int64(binary.BigEndian.Uint64(meta[12:]))
	if width != x.width.Milliseconds() || window != x.window.Milliseconds() {
		return 0, fmt.Errorf("%w: made for a window of %v, want %v", errUnusable, time.Duration(window)*time.Millisecond, x.window)
	}
	return TopicRef(binary.BigEndian.Uint32(meta[20:])), nil
}

func (x *Index) meta(next TopicRef) []byte {
	b := binary.BigEndian.AppendUint32(nil, layoutVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(x.width.Milliseconds()))
	b = binary.BigEndian.AppendUint64(b, uint64(x.window.Milliseconds()))
	return binary.BigEndian.AppendUint32(b, uint32(next))
}
