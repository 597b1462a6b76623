package signature

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// Algorithm is the hash function of the HMAC.
type Algorithm uint8

// Algorithms, and their names in a configuration.
const (
	SHA256 Algorithm = iota // sha256
	SHA1                    // sha1, for senders that know no better
	SHA384                  // sha384
	SHA512                  // sha512
)

var algorithmNames = []string{"sha256", "sha1", "sha384", "sha512"}

// ParseAlgorithm reads the name of an algorithm.
func ParseAlgorithm(name string) (Algorithm, error) {
	return parseName[Algorithm]("algorithm", algorithmNames, name)
}

// String returns the algorithm's name.
func (a Algorithm) String() string { return nameOf("algorithm", algorithmNames, a) }

func (a Algorithm) valid() bool { return int(a) < len(algorithmNames) }

func (a Algorithm) new() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New()
	case SHA1:
		return sha1.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	panic(fmt.Sprintf("BUG: unknown algorithm %d", a))
}

func (a Algorithm) size() int { return a.new().Size() }

// Encoding is how the bytes of a signature are written.
type Encoding uint8

// Encodings, and their names in a configuration. Of each only the canonical
// form is accepted.
const (
	Hex       Encoding = iota // hex, in lower case
	Base64                    // base64, padded
	Base64URL                 // base64url, not padded
)

var encodingNames = []string{"hex", "base64", "base64url"}

// ParseEncoding reads the name of an encoding.
func ParseEncoding(name string) (Encoding, error) {
	return parseName[Encoding]("encoding", encodingNames, name)
}

// String returns the encoding's name.
func (e Encoding) String() string { return nameOf("encoding", encodingNames, e) }

func (e Encoding) valid() bool { return int(e) < len(encodingNames) }

func (e Encoding) append(dst, sum []byte) []byte {
	switch e {
	case Hex:
		return hex.AppendEncode(dst, sum)
	case Base64:
		return base64.StdEncoding.AppendEncode(dst, sum)
	case Base64URL:
		return base64.RawURLEncoding.AppendEncode(dst, sum)
	}
	panic(fmt.Sprintf("BUG: unknown encoding %d", e))
}

// size returns the length of the text for n bytes.
func (e Encoding) size(n int) int { return len(e.append(nil, make([]byte, n))) }

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// alphabet returns the characters the text consists of.
func (e Encoding) alphabet() string {
	switch e {
	case Hex:
		return "0123456789abcdef"
	case Base64:
		return letters + "+/="
	case Base64URL:
		return letters + "-_"
	}
	panic(fmt.Sprintf("BUG: unknown encoding %d", e))
}

// parseName finds a name in a list whose order is that of the constants.
func parseName[E ~uint8](kind string, names []string, name string) (E, error) {
	i := slices.Index(names, name)
	if i < 0 {
		return 0, fmt.Errorf("unknown %s %q: it is one of %s", kind, name, strings.Join(names, ", "))
	}
	return E(i), nil
}

func nameOf[E ~uint8](kind string, names []string, e E) string {
	if int(e) >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, uint8(e))
	}
	return names[e]
}
