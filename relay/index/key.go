package index

import (
	"encoding/binary"
	"time"

	"hooklog/schemas"
)

// Layout of the store, version 2. All integers are big-endian.
//
//	m                      -> version u32, generation width ms i64, window ms i64, next topic reference u32
//	t <ref u32>            -> topic ID [16], name
//	c <ref u32> <part u32> -> offset i64, leader epoch i32
//	f <gen u32> <key [16]> -> ref u32, partition u32, offset i64, time ms i64, body sum u32
//	s <gen u32> <n u32>    -> n-th part of the generation's saved filter, see saved.go
const (
	kindMeta       = 'm'
	kindTopic      = 't'
	kindCheckpoint = 'c'
	kindFact       = 'f'
	kindSaved      = 's'

	layoutVersion = 2

	metaSize            = 4 + 8 + 8 + 4
	topicKeySize        = 1 + 4
	checkpointKeySize   = 1 + 4 + 4
	checkpointValueSize = 8 + 4
	factKeySize         = 1 + 4 + 16
	savedKeySize        = 1 + 4 + 4
	factValueSize       = 4 + 4 + 8 + 8 + 4
)

// TopicRef stands for one topic ID within one store.
type TopicRef uint32

// Fact says where the log holds an event.
type Fact struct {
	Key       schemas.EventKey
	Topic     TopicRef
	Partition int32
	Offset    int64
	// Time is the record's timestamp, of which milliseconds are kept. It
	// decides the generation. One that lies too far ahead of our clock is kept
	// as an hour ahead.
	Time time.Time
	// BodySum is schemas.BodySum of the body.
	BodySum uint32
	// Window is how long the event's ID is remembered, where that is less than
	// the index remembers; zero means as long as the index does. Apply uses it
	// to tell a further copy from an event that may have come again; it is not
	// kept.
	Window time.Duration
	// Since is the Version of the index before a Lookup that did not know the
	// event, of somebody who has had its claim ever since; zero says nothing.
	// Where the version is the same still, Apply need not ask again.
	Since uint64
}

func appendFactKey(dst []byte, generation uint32, key schemas.EventKey) []byte {
	dst = append(dst, kindFact)
	dst = binary.BigEndian.AppendUint32(dst, generation)
	return append(dst, key[:]...)
}

func generationStart(generation uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindFact}, generation)
}

func appendFactValue(dst []byte, p *pending) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.topic))
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.partition))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.offset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.millis))
	return binary.BigEndian.AppendUint32(dst, p.bodySum)
}

func savedStart(generation uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindSaved}, generation)
}

func savedKey(generation, n uint32) []byte {
	return binary.BigEndian.AppendUint32(savedStart(generation), n)
}

// parseFactValue reads what appendFactValue wrote; ok is false for a value of
// another size.
func parseFactValue(key schemas.EventKey, v []byte) (f Fact, ok bool) {
	if len(v) != factValueSize {
		return Fact{}, false
	}
	return Fact{
		Key:       key,
		Topic:     TopicRef(binary.BigEndian.Uint32(v)),
		Partition: int32(binary.BigEndian.Uint32(v[4:])),
		Offset:    int64(binary.BigEndian.Uint64(v[8:])),
		Time:      time.UnixMilli(int64(binary.BigEndian.Uint64(v[16:]))).UTC(),
		BodySum:   binary.BigEndian.Uint32(v[24:]),
	}, true
}

func topicKey(ref TopicRef) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindTopic}, uint32(ref))
}

func checkpointKey(ref TopicRef, partition int32) []byte {
	return binary.BigEndian.AppendUint32(checkpointStart(ref), uint32(partition))
}

func checkpointStart(ref TopicRef) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindCheckpoint}, uint32(ref))
}

func checkpointValue(c Checkpoint) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.Offset))
	return binary.BigEndian.AppendUint32(b, uint32(c.Epoch))
}
