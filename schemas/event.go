package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
	"unicode/utf8"
)

// SourceName names who sends, as configured: [a-z0-9][a-z0-9._-]{0,63}.
type SourceName string

// EventID is the provider's ID of an event, unique within its source.
type EventID string

// EventType is the provider's name of what happened, such as
// "payment.succeeded".
type EventType string

// UnknownType is the type of an event whose provider gives none.
const UnknownType EventType = "unknown"

// Limits of what is taken over from a provider, in bytes. They keep an index
// entry, a log line and a Kafka header of a sensible size.
const (
	maxIDBytes   = 512
	maxTypeBytes = 256
)

// Event is one verified webhook. The zero value is not a valid event: ID,
// Source, Type and Received are always set. An Event owns nothing; whoever
// made it says how long its slices live.
type Event struct {
	ID     EventID
	Source SourceName
	Type   EventType
	// Time is when the event happened at the provider; zero, or Received after
	// Decode, where the provider does not say.
	Time time.Time
	// Received is when the relay had read the whole request.
	Received time.Time
	// ContentType is the request's Content-Type; empty where there was none.
	ContentType string
	// Scheme is the name of the scheme that verified the request; "none" for
	// a source that is declared unverified.
	Scheme string
	// SecretID names which secret verified it; empty where none did. It
	// cannot be turned back into the secret.
	SecretID string
	Method   string
	// Target is the request target as received, credentials replaced by
	// REDACTED.
	Target string
	// URL is the public URL that was part of the signed text; empty for
	// schemes that do not sign it.
	URL string
	// Headers are the sender's headers in order, repeated ones repeated, less
	// those that must not be stored (see Stored).
	Headers []Header
	// Body is the exact body as received, never nil after Decode.
	Body []byte

	// Position is where the log holds the event; zero before it was produced.
	Position Position
	// Timestamp is the record's own time, which the log is searched by; zero
	// before the event was produced. It is Received unless the relay's clock
	// was ahead of the brokers', or the topic keeps the time of appending.
	Timestamp time.Time
	// Extra are the record's headers that belong to none of the fields above,
	// such as hooklog_origin_topic, in order.
	Extra []Header
}

// Header is one header of a request or record. Name is lower case.
type Header struct {
	Name  string
	Value []byte
}

// Header returns the first value of the sender's header of that lower-case
// name, or nil. It is a Lookup.
func (e *Event) Header(name string) []byte {
	for i := range e.Headers {
		if e.Headers[i].Name == name {
			return e.Headers[i].Value
		}
	}
	return nil
}

// Position is a place in the log.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String returns topic/partition@offset.
func (p Position) String() string {
	return p.Topic + "/" + strconv.FormatInt(int64(p.Partition), 10) + "@" + strconv.FormatInt(p.Offset, 10)
}

// EventKey identifies (source, event ID) in fixed size, so that the cost of
// remembering an event does not depend on its provider. It is the first half
// of a SHA-256: a sender who may choose IDs still cannot make two of them
// meet.
type EventKey [16]byte

// KeyOf returns the key of an event. The source's length is part of what is
// hashed, so no two pairs run into each other.
func KeyOf(source SourceName, id EventID) EventKey {
	var stack [128]byte
	// A varint and not one byte: a record that another program wrote may have
	// a source of 257 bytes, which must not count as one of 1.
	b := binary.AppendUvarint(stack[:0], uint64(len(source)))
	b = append(b, source...)
	b = append(b, id...)
	sum := sha256.Sum256(b)
	return EventKey(sum[:16])
}

// String returns the key in hex.
func (k EventKey) String() string { return hex.EncodeToString(k[:]) }

// Hash returns 64 well mixed bits of the key, for sharding and filters.
func (k EventKey) Hash() uint64 { return binary.LittleEndian.Uint64(k[:8]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BodySum is the short hash of a body that a fact keeps, to notice the same ID
// with another body. It is a CRC-32C: it finds mistakes, not forgeries.
func BodySum(body []byte) uint32 { return crc32.Checksum(body, castagnoli) }

// BodyID is the event ID of a body whose provider gives none:
// "sha256:<hex of body>".
func BodyID(body []byte) EventID { return EventID(hashText(body)) }

// CleanID returns the ID as given, or "sha256:<hex of it>" if it is longer
// than 512 bytes, is not UTF-8 or has control characters. An empty ID has no
// clean form; the caller uses BodyID.
func CleanID(id string) EventID {
	if len(id) <= maxIDBytes && printable(id) {
		return EventID(id)
	}
	return EventID(hashText([]byte(id)))
}

// CleanType returns the type as given, or UnknownType if it is empty, longer
// than 256 bytes, not UTF-8 or has control characters.
func CleanType(t string) EventType {
	if t == "" || len(t) > maxTypeBytes || !printable(t) {
		return UnknownType
	}
	return EventType(t)
}

// CheckSourceName reports whether a name may stand in a URL, a metric label
// and a topic name as it is.
func CheckSourceName(s string) error {
	ok := len(s) >= 1 && len(s) <= 64
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = alnum || i > 0 && (c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("source name %q does not match [a-z0-9][a-z0-9._-]{0,63}", s)
	}
	return nil
}

func hashText(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// printable reports whether s is UTF-8 without control characters (C0, DEL
// and C1).
func printable(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	for _, r := range s {
		if r >= 0x80 && r <= 0x9f {
			return false
		}
	}
	return utf8.ValidString(s)
}
