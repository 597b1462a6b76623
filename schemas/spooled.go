package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// spooledVersion is the first byte of a spooled record.
const spooledVersion = 1

// ErrNotSpooled is returned by ParseSpooled for bytes that AppendSpooled has not
// written.
var ErrNotSpooled = errors.New("not a spooled record")

// AppendSpooled appends a record as the spool keeps it until it can be written to its
// topic: topic, timestamp, key, value and headers, but no place in the log.
func AppendSpooled(dst []byte, r *kgo.Record) []byte {
	bytes := func(b []byte) {
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		dst = append(dst, b...)
	}
	dst = append(dst, spooledVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Timestamp.UnixNano()))
	bytes([]byte(r.Topic))
	bytes(r.Key)
	bytes(r.Value)
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for i := range r.Headers {
		bytes([]byte(r.Headers[i].Key))
		bytes(r.Headers[i].Value)
	}
	return dst
}

// ParseSpooled reads what AppendSpooled wrote. The record shares b's memory.
// Empty keys, values and headers come back as empty, never as null.
func ParseSpooled(b []byte) (*kgo.Record, error) {
	if len(b) < 9 || b[0] != spooledVersion {
		return nil, fmt.Errorf("%w: %d bytes, want version %d", ErrNotSpooled, len(b), spooledVersion)
	}
	r := &kgo.Record{Timestamp: time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))).UTC()}
	b = b[9:]
	short := false
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			short, b = true, nil
			return 0
		}
		b = b[size:]
		return n
	}
	bytes := func() []byte {
		n := number()
		if n > uint64(len(b)) {
			short, b = true, nil
			return nil
		}
		out := b[:n:n]
		b = b[n:]
		return out
	}
	r.Topic = string(bytes())
	r.Key = bytes()
	r.Value = bytes()
	for n := number(); n > 0 && !short; n-- {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(bytes()), Value: bytes()})
	}
	if short || len(b) > 0 {
		return nil, fmt.Errorf("%w: it does not end where it should", ErrNotSpooled)
	}
	return r, nil
}
