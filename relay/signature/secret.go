package signature

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Secret is one shared secret.
type Secret struct {
	// ID names the secret in records and metrics, for those who must not know
	// it: up to 64 of A-Z a-z 0-9 . _ -; empty means one made from the key,
	// which is the same after a restart and on every machine.
	ID string
	// Value is the secret as the provider shows it.
	Value SecretValue
	// NotBefore and NotAfter bound when it is accepted, both inclusive; zero
	// is no bound.
	NotBefore, NotAfter time.Time
}

// SecretValue holds the text of a secret and never shows it: printed, logged
// or encoded it is REDACTED. The zero value is the empty secret, with which
// nothing can be verified.
type SecretValue struct {
	// The pointer keeps the text from fmt, which prints the unexported fields
	// of a struct, where this one may be nested, without asking them.
	text *string
}

const redacted = "REDACTED"

// NewSecretValue returns the secret with that text.
func NewSecretValue(text string) SecretValue { return SecretValue{text: &text} }

// String returns "REDACTED".
func (SecretValue) String() string { return redacted }

// GoString returns "REDACTED".
func (SecretValue) GoString() string { return redacted }

// Format writes "REDACTED", whatever the verb: fmt does not ask String when it
// complains about a verb that does not fit.
func (SecretValue) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns "REDACTED".
func (SecretValue) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "REDACTED"; JSON and YAML use it.
func (SecretValue) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (s SecretValue) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// KeyFormat says how the text of a secret becomes a key.
type KeyFormat uint8

// Key formats, and their names in a configuration.
const (
	KeyText   KeyFormat = iota // text: its bytes are the key
	KeyBase64                  // base64, padded
	KeyHex                     // hex
	KeyWhsec                   // whsec: "whsec_", which may be missing, then base64
)

var keyFormatNames = []string{"text", "base64", "hex", "whsec"}

// ParseKeyFormat reads the name of a key format.
func ParseKeyFormat(name string) (KeyFormat, error) {
	return parseName[KeyFormat]("key format", keyFormatNames, name)
}

// String returns the format's name.
func (f KeyFormat) String() string { return nameOf("key format", keyFormatNames, f) }

func (f KeyFormat) valid() bool { return int(f) < len(keyFormatNames) }

// decode returns the key, or what is wrong with the text without a byte of it:
// the errors of the standard decoders quote what they stumble on.
func (f KeyFormat) decode(text string) (key []byte, problem string) {
	var err error
	switch f {
	case KeyText:
		if strings.Trim(text, "\r\n") != text {
			return nil, "it begins or ends with a line break, which is hardly part of it"
		}
		return []byte(text), ""
	case KeyHex:
		if key, err = hex.DecodeString(text); err != nil {
			return nil, "it is not hex"
		}
	case KeyBase64, KeyWhsec:
		if f == KeyWhsec {
			text = strings.TrimPrefix(text, "whsec_")
		}
		// The decoder skips line breaks, in strict mode too.
		if key, err = base64.StdEncoding.Strict().DecodeString(text); err != nil || strings.ContainsAny(text, "\r\n") {
			return nil, "it is not padded base64"
		}
	}
	return key, ""
}

// maxSecrets bounds how many passes over a body one request can cost.
const maxSecrets = 16

// newKeys turns secrets into keys, and adds what is wrong with them.
func newKeys(s *Scheme, secrets []Secret, p *problems) []*key {
	if len(secrets) == 0 {
		p.add("secrets", "there is none, so nothing could be verified")
	}
	if len(secrets) > maxSecrets {
		p.add("secrets", "%d are too many: each may cost a pass over the body, at most %d are allowed", len(secrets), maxSecrets)
		return nil
	}
	var keys []*key
	byID := map[string][]byte{}
	for i, secret := range secrets {
		field := fmt.Sprintf("secrets[%d]", i)
		if !secret.NotAfter.IsZero() && secret.NotAfter.Before(secret.NotBefore) {
			p.add(field+".not_after", "it ends before it begins")
		}
		if secret.ID != "" && !validSecretID(secret.ID) {
			p.add(field+".id", "%q does not match [A-Za-z0-9._-]{1,64}", secret.ID)
		}
		raw, problem := rawKey(s, secret.Value)
		if problem != "" {
			p.add(field, "%s", problem)
			continue
		}
		id := secret.ID
		if id == "" {
			id = secretID(raw)
		}
		// One key may be listed twice, with two spans of time; one ID for two
		// keys would make records lie.
		if other, ok := byID[id]; ok && !bytes.Equal(other, raw) {
			p.add(field+".id", "%q is another secret's already", id)
		}
		byID[id] = raw
		if s.Algorithm.valid() {
			keys = append(keys, newKey(s.Algorithm, raw, id, secret.NotBefore, secret.NotAfter))
		}
	}
	return keys
}

func rawKey(s *Scheme, value SecretValue) (raw []byte, problem string) {
	if value.reveal() == "" {
		return nil, "it is empty"
	}
	if !s.Key.valid() {
		return nil, "" // Reported with the scheme.
	}
	if raw, problem = s.Key.decode(value.reveal()); problem != "" {
		return nil, problem
	}
	switch n := len(raw); {
	case n == 0:
		return nil, "the key in it is empty"
	case n < s.MinKey:
		return nil, fmt.Sprintf("the key in it has %d bytes, and %s needs at least %d", n, s.Name, s.MinKey)
	case s.MaxKey > 0 && n > s.MaxKey:
		return nil, fmt.Sprintf("the key in it has %d bytes, and %s allows at most %d", n, s.Name, s.MaxKey)
	}
	return raw, ""
}

func validSecretID(id string) bool {
	for i := range len(id) {
		c := lower(id[i])
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("._-", c) < 0 {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 64
}

// idRounds makes a guess at a secret by its ID cost more than a guess by any
// request signed with it. It is 0.75 ms on an AMD EPYC, once per secret.
const idRounds = 4096

// secretID returns eight hex digits that follow from the key. IDs go where
// signatures do not, such as a metric's label, so they must not be the easier
// way to guess a weak secret.
func secretID(raw []byte) string {
	// Salt and output are as long as FIPS-only mode wants them, the one case
	// in which Key fails.
	sum, err := pbkdf2.Key(sha256.New, string(raw), []byte("hooklog secret id v1"), idRounds, sha256.Size)
	if err != nil {
		panic("BUG: derive secret ID: " + err.Error())
	}
	return hex.EncodeToString(sum[:4])
}
