package broker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A batchHeader is the fixed part of a record batch, as it stands in a segment
// (https://kafka.apache.org/documentation/#recordbatch).
type batchHeader struct {
	offset       int64
	size         int64 // of the whole batch, in bytes
	epoch        int32
	attributes   int16
	lastDelta    int32
	maxTimestamp int64
	producer     int64
	producerEp   int16
	sequence     int32
	records      int32
}

const (
	batchHeaderBytes = 61
	batchPrefixBytes = 12 // offset and length, which the length does not count
	crcFrom          = 21 // the checksum covers all that follows it

	attrTransactional = 1 << 4
	attrControl       = 1 << 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *batchHeader) end() int64      { return h.offset + int64(h.lastDelta) + 1 }
func (h *batchHeader) control() bool   { return h.attributes&attrControl != 0 }
func (h *batchHeader) inTxn() bool     { return h.attributes&attrTransactional != 0 && !h.control() }
func (h *batchHeader) sequenced() bool { return h.producer >= 0 && !h.control() }

// parseBatch reads the batch that b starts with. It must be there whole.
func parseBatch(b []byte) (batchHeader, error) {
	if len(b) < batchHeaderBytes {
		return batchHeader{}, errors.New("it ends within the header of a batch")
	}
	be := binary.BigEndian
	h := batchHeader{
		offset:       int64(be.Uint64(b)),
		size:         int64(int32(be.Uint32(b[8:]))) + batchPrefixBytes,
		epoch:        int32(be.Uint32(b[12:])),
		attributes:   int16(be.Uint16(b[21:])),
		lastDelta:    int32(be.Uint32(b[23:])),
		maxTimestamp: int64(be.Uint64(b[35:])),
		producer:     int64(be.Uint64(b[43:])),
		producerEp:   int16(be.Uint16(b[51:])),
		sequence:     int32(be.Uint32(b[53:])),
		records:      int32(be.Uint32(b[57:])),
	}
	switch {
	case h.size < batchHeaderBytes || h.lastDelta < 0 || b[16] != 2:
		return h, errors.New("there is no batch")
	case h.size > int64(len(b)):
		return h, errors.New("it ends within a batch")
	case crc32.Checksum(b[crcFrom:h.size], castagnoli) != be.Uint32(b[17:]):
		return h, errors.New("the checksum of a batch is wrong")
	}
	return h, nil
}

// findBatch reports whether a whole batch that may follow offset next starts
// anywhere in b after its first byte.
func findBatch(b []byte, next int64) bool {
	for i := 1; i+batchHeaderBytes <= len(b); i++ {
		// No offset is skipped for less than a byte.
		offset := int64(binary.BigEndian.Uint64(b[i:]))
		if b[i+16] != 2 || offset < next || offset-next > int64(len(b)) {
			continue
		}
		if _, err := parseBatch(b[i:]); err == nil {
			return true
		}
	}
	return false
}

// isCommit reads a control batch: whether it commits or aborts.
func isCommit(b []byte) bool {
	var r kmsg.Record
	if err := r.ReadFrom(b[batchHeaderBytes:]); err != nil || len(r.Key) < 4 {
		return false // As kfake and clients do.
	}
	return binary.BigEndian.Uint16(r.Key[2:]) == 1
}

// abortMarker is the control batch that ends a transaction.
func abortMarker(offset int64, leaderEpoch int32, producer int64, producerEpoch int16) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	var marker kmsg.EndTxnMarker
	r := kmsg.Record{Key: key.AppendTo(nil), Value: marker.AppendTo(nil)}
	r.Length = int32(len(r.AppendTo(nil)) - 1) // without the length itself, which is one byte
	now := time.Now().UnixMilli()
	return encodeBatch(kmsg.RecordBatch{
		FirstOffset:          offset,
		PartitionLeaderEpoch: leaderEpoch,
		Attributes:           attrControl | attrTransactional,
		FirstTimestamp:       now,
		MaxTimestamp:         now,
		ProducerID:           producer,
		ProducerEpoch:        producerEpoch,
		FirstSequence:        -1,
		NumRecords:           1,
		Records:              r.AppendTo(nil),
	})
}

// emptyBatch holds the place of an offset that was given out and removed.
func emptyBatch(offset int64, leaderEpoch int32) []byte {
	return encodeBatch(kmsg.RecordBatch{
		FirstOffset:          offset,
		PartitionLeaderEpoch: leaderEpoch,
		FirstTimestamp:       -1,
		MaxTimestamp:         -1,
		ProducerID:           -1,
		ProducerEpoch:        -1,
		FirstSequence:        -1,
	})
}

func encodeBatch(b kmsg.RecordBatch) []byte {
	b.Magic = 2
	b.Length = int32(batchHeaderBytes - batchPrefixBytes + len(b.Records))
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[crcFrom:], castagnoli))
	return out
}

// indexEntry is kfake's note of a batch beside the segment.
func indexEntry(h *batchHeader) []byte {
	b := make([]byte, indexEntryBytes)
	b[0] = formatVersion
	binary.LittleEndian.PutUint32(b[2:], uint32(h.epoch))
	// Bytes 6 to 13 are a running maximum that kfake computes again.
	if h.inTxn() {
		b[14] = 1
	}
	b[1] = byte(crc32.Checksum(b[2:], castagnoli))
	return b
}

const indexEntryBytes = 15

func validIndexEntry(b []byte) bool {
	return byte(crc32.Checksum(b[2:indexEntryBytes], castagnoli)) == b[1]
}
