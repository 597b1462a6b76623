package load

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// distinctBodies is how many bodies are made: enough that nothing compresses
// or caches one of them away, few enough to stay in the processor's cache.
const distinctBodies = 64

// event is what differs from one request to the next.
type event struct {
	id        [32]byte
	signature [44]byte // base64 of the MAC
}

// Batch is a set of signed events with IDs that no other batch has. It is
// made before the clock starts, so that the load costs little while it runs.
type Batch struct {
	timestamp string
	bodies    [][]byte
	events    []event
}

// Sign makes and signs n events with bodies of size bytes, by the Standard
// Webhooks specification. The secret is "whsec_" and base64.
func Sign(secret string, n, size int) (*Batch, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return nil, fmt.Errorf("decode secret: %w", err)
	}
	b := &Batch{timestamp: strconv.FormatInt(time.Now().Unix(), 10), events: make([]event, n)}
	random := mathrand.New(mathrand.NewPCG(1, uint64(size))) // The same bodies in every run.
	for range distinctBodies {
		b.bodies = append(b.bodies, body(random, size))
	}
	var run [16]byte
	_, _ = rand.Read(run[:8])
	mac := hmac.New(sha256.New, key)
	var sum [sha256.Size]byte
	for i := range b.events {
		e := &b.events[i]
		binary.BigEndian.PutUint64(run[8:], uint64(i))
		hex.Encode(e.id[:], run[:])
		mac.Reset()
		mac.Write(e.id[:])
		mac.Write([]byte("." + b.timestamp + "."))
		mac.Write(b.body(i))
		base64.StdEncoding.Encode(e.signature[:], mac.Sum(sum[:0]))
	}
	return b, nil
}

// Len returns the number of events.
func (b *Batch) Len() int { return len(b.events) }

func (b *Batch) body(i int) []byte { return b.bodies[i%len(b.bodies)] }

// append appends the whole request of event i.
func (b *Batch) append(dst []byte, host, path string, i int) []byte {
	e, body := &b.events[i], b.body(i)
	dst = append(dst, "POST "...)
	dst = append(dst, path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	// What a provider sends beside its signature is of this kind and size.
	dst = append(dst, "\r\nUser-Agent: hooklog-bench/1\r\nAccept: */*\r\nContent-Type: application/json\r\nwebhook-id: "...)
	dst = append(dst, e.id[:]...)
	dst = append(dst, "\r\nwebhook-timestamp: "...)
	dst = append(dst, b.timestamp...)
	dst = append(dst, "\r\nwebhook-signature: v1,"...)
	dst = append(dst, e.signature[:]...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// body makes a JSON object of exactly size bytes, or the smallest that has an
// event's members.
func body(random *mathrand.Rand, size int) []byte {
	b := fmt.Appendf(nil, `{"type":"payment.succeeded","created_at":"2026-01-02T15:04:05Z","data":{"id":"pay_%016x","customer":"cus_%016x","amount":%d,"currency":"eur","items":[`,
		random.Uint64(), random.Uint64(), random.IntN(100_000))
	const end = `""]}}`
	for len(b)+40+len(end) <= size {
		b = fmt.Appendf(b, `{"sku":"%016x","quantity":%d},`, random.Uint64(), 1+random.IntN(9))
	}
	b = append(b, '"')
	for len(b)+len(end)-1 < size {
		b = append(b, "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)])
	}
	return append(b, end[1:]...)
}
