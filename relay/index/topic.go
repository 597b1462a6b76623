package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// TopicID is the broker's ID of a topic, which a topic made anew under the same
// name does not share (KIP-516).
type TopicID [16]byte

type topic struct {
	id   TopicID
	name string
}

// Topic returns the reference of a topic. A topic that is known by that name
// with another ID has been recreated: its facts are dead from here on, and the
// new one starts without checkpoints.
func (x *Index) Topic(name string, id TopicID) (TopicRef, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.failure.err(); err != nil {
		return 0, err
	}
	for ref, t := range *x.topics.Load() {
		if t.name != name {
			continue
		}
		if t.id == id {
			return ref, nil
		}
		return x.replace(ref, topic{id: id, name: name})
	}
	return x.replace(0, topic{id: id, name: name})
}

// Topic is a topic that the index has facts of.
type Topic struct {
	Ref  TopicRef
	Name string
	ID   TopicID
}

// Topics returns the topics, by name.
func (x *Index) Topics() []Topic {
	var out []Topic
	for ref, t := range *x.topics.Load() {
		out = append(out, Topic{Ref: ref, Name: t.name, ID: t.id})
	}
	slices.SortFunc(out, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Reset makes every fact of a topic dead at once and returns its new reference,
// which has no checkpoints. It is for a log that has lost records it once
// acknowledged.
func (x *Index) Reset(ref TopicRef) (TopicRef, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.failure.err(); err != nil {
		return 0, err
	}
	t, ok := (*x.topics.Load())[ref]
	if !ok {
		return 0, fmt.Errorf("index: reset topic reference %d: unknown", ref)
	}
	return x.replace(ref, t)
}

// replace retires a reference (0 for none) in favour of a new one. The caller
// holds x.mu.
func (x *Index) replace(old TopicRef, t topic) (TopicRef, error) {
	ref := x.nextRef
	b := x.db.NewBatch()
	if old != 0 {
		if err := b.Delete(topicKey(old), nil); err != nil {
			return 0, x.failed("retire topic", err)
		}
		if err := b.DeleteRange(checkpointStart(old), checkpointStart(old+1), nil); err != nil {
			return 0, x.failed("retire topic", err)
		}
	}
	if err := b.Set(topicKey(ref), append(bytes.Clone(t.id[:]), t.name...), nil); err != nil {
		return 0, x.failed("add topic", err)
	}
	if err := b.Set([]byte{kindMeta}, x.meta(ref+1), nil); err != nil {
		return 0, x.failed("add topic", err)
	}
	if err := x.commit("add topic", b); err != nil {
		return 0, err
	}
	x.nextRef = ref + 1
	topics := maps.Clone(*x.topics.Load())
	delete(topics, old)
	topics[ref] = t
	x.topics.Store(&topics)
	return ref, nil
}

// Checkpoint is how far a partition has been read: every record before Offset
// is a fact here, is none of ours, or is gone.
type Checkpoint struct {
	Topic     TopicRef
	Partition int32
	Offset    int64
	// Epoch is a leader epoch in which the log was seen to reach Offset, by
	// which a log that was cut off and has grown again is told from one that
	// was not; -1 if it is not known.
	Epoch int32
}

// Checkpoints returns the checkpoints of a topic by partition.
func (x *Index) Checkpoints(ref TopicRef) (_ map[int32]Checkpoint, err error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: checkpointStart(ref), UpperBound: checkpointStart(ref + 1)})
	if err != nil {
		return nil, x.failed("read checkpoints", err)
	}
	out := make(map[int32]Checkpoint)
	for it.First(); it.Valid(); it.Next() {
		k, v := it.Key(), it.Value()
		if len(k) != checkpointKeySize || len(v) != checkpointValueSize {
			err = fmt.Errorf("%w: malformed checkpoint %x", errUnusable, k)
			x.failure.damaged(err)
			break
		}
		partition := int32(binary.BigEndian.Uint32(k[5:]))
		out[partition] = Checkpoint{
			Topic: ref, Partition: partition,
			Offset: int64(binary.BigEndian.Uint64(v)), Epoch: int32(binary.BigEndian.Uint32(v[8:])),
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return nil, x.failed("read checkpoints", err)
	}
	return out, nil
}
