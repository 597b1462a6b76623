package signature

import (
	"crypto/hmac"
	"hash"
	"sync"
	"time"
)

// key is one secret, ready for use. It is safe for concurrent use.
type key struct {
	id                  string
	notBefore, notAfter time.Time
	// states holds *state. An HMAC that is used again restores its first
	// block instead of hashing it, and allocates nothing.
	states sync.Pool
}

// state is an HMAC under one key and the room to use it.
type state struct {
	mac  hash.Hash
	buf  []byte // parts before they are hashed, the body excepted; empty between calls
	sum  []byte
	text []byte // the sum as it would be sent
}

// maxScratch is how much of a buffer goes back into the pool; only a request
// target is ever longer.
const maxScratch = 4 << 10

func newKey(a Algorithm, raw []byte, id string, notBefore, notAfter time.Time) *key {
	k := &key{id: id, notBefore: notBefore, notAfter: notAfter}
	// Only this closure keeps the key's bytes: no field of a Verifier has
	// them, so printing one cannot show them.
	k.states.New = func() any { return &state{mac: hmac.New(a.new, raw)} }
	return k
}

func (k *key) valid(now time.Time) bool {
	return !now.Before(k.notBefore) && (k.notAfter.IsZero() || !now.After(k.notAfter))
}

// signed reports whether one of the signatures is that of the text. All are
// compared, so the time does not tell which one it was.
func (k *key) signed(m Message, t *signedText, e Encoding, signatures [][]byte) bool {
	s := k.states.Get().(*state)
	want := s.sign(m, t, e)
	found := false
	for _, signature := range signatures {
		found = hmac.Equal(want, signature) || found
	}
	k.release(s)
	return found
}

// sign returns the text of the signature, in memory of its own.
func (k *key) sign(m Message, t *signedText, e Encoding) []byte {
	s := k.states.Get().(*state)
	text := append([]byte(nil), s.sign(m, t, e)...)
	k.release(s)
	return text
}

func (k *key) release(s *state) {
	if cap(s.buf) > maxScratch {
		s.buf = nil
	}
	k.states.Put(s)
}

// sign returns the text of the signature; it is the state's and lasts until
// the next call.
func (s *state) sign(m Message, t *signedText, e Encoding) []byte {
	s.mac.Reset()
	for _, p := range m {
		switch p.Kind {
		case PartBody:
			s.flush()
			s.mac.Write(t.body)
		case PartLiteral:
			s.buf = append(s.buf, p.Text...)
		case PartURL:
			s.buf = append(s.buf, t.url...)
		case PartTimestamp, PartID, PartMethod, PartTarget:
			s.buf = append(s.buf, t.part(p.Kind)...)
		}
	}
	s.flush()
	s.sum = s.mac.Sum(s.sum[:0])
	s.text = e.append(s.text[:0], s.sum)
	return s.text
}

func (s *state) flush() {
	if len(s.buf) > 0 {
		s.mac.Write(s.buf)
		s.buf = s.buf[:0]
	}
}
