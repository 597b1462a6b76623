package signature

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scheme declares how a sender signs. It is data: New refuses one that
// contradicts itself. Zero values of its enums are the most common choice.
type Scheme struct {
	// Name goes into records and output; it must be set.
	Name string
	// Header is the field that carries the signatures, spelled as the sender
	// documents it.
	Header string
	// List says how several elements share that field; zero if the whole
	// value is one signature.
	List List
	// Prefix is what stands before each signature, such as "sha256=".
	Prefix string
	// Encoding of the signatures; zero is Hex.
	Encoding Encoding
	// Algorithm of the signatures; zero is SHA256, which like the others means
	// HMAC.
	Algorithm Algorithm
	// Signed is the text that is signed. It contains the body.
	Signed Message
	// Timestamp says where the signed timestamp stands; zero if none is signed.
	Timestamp Timestamp
	// ID is the field with the signed ID; empty if none is signed.
	ID string
	// Key says how a secret's text becomes a key; zero is KeyText.
	Key KeyFormat
	// MinKey and MaxKey bound the key's length in bytes; zero is no bound. An
	// empty key is never allowed.
	MinKey, MaxKey int
	// Tolerance is how far the timestamp may be from the clock, both ways;
	// zero is DefaultTolerance.
	Tolerance time.Duration
}

// List is the notation of a header with several elements, each a label and a
// value: {",", "=", "v1"} is "t=1716436936,v1=9a5a...", and {" ", ",", "v1"}
// is "v1,dmxb... v1,B/vs...". Elements with other labels are ignored, since
// senders add some. The zero value is no list.
type List struct {
	// Separator stands between elements.
	Separator string
	// Assign stands between label and value; empty if there are no labels and
	// each element is a signature.
	Assign string
	// Label marks the signatures.
	Label string
}

// IsZero reports whether the header is no list.
func (l List) IsZero() bool { return l == List{} }

// Timestamp says where a signed timestamp stands: in a field of its own, or
// in the signatures' list under a label. Its text is signed as it was sent.
// The zero value is no timestamp.
type Timestamp struct {
	// Header is its own field, and Label its label in the list. One is empty.
	Header, Label string
	// Unit is its notation; zero is Seconds.
	Unit Unit
}

// IsZero reports whether there is no timestamp.
func (t Timestamp) IsZero() bool { return t.Header == "" && t.Label == "" }

// FieldError is one thing that is wrong in a declaration.
type FieldError struct {
	// Name is the field: one of name, header, list, prefix, encoding,
	// algorithm, signed, timestamp, id, key and tolerance, or secrets,
	// secrets[i], secrets[i].id, secrets[i].not_after.
	Name string
	// Problem says what is wrong, without the field's name and without the
	// value of any secret.
	Problem string
}

// Error returns the field and the problem.
func (e *FieldError) Error() string { return e.Name + ": " + e.Problem }

// Field returns the name of the field, for whoever knows where it was written.
func (e *FieldError) Field() string { return e.Name }

// Validate reports everything that is wrong with the scheme, as joined
// *FieldError.
func (s *Scheme) Validate() error {
	var p problems
	s.check(&p)
	return p.join()
}

type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, &FieldError{Name: field, Problem: fmt.Sprintf(format, args...)})
}

func (p *problems) join() error { return errors.Join(*p...) }

func (s *Scheme) check(p *problems) {
	if s.Name == "" {
		p.add("name", "a scheme needs a name")
	}
	if !s.Algorithm.valid() {
		p.add("algorithm", "unknown algorithm %d", s.Algorithm)
	}
	if !s.Encoding.valid() {
		p.add("encoding", "unknown encoding %d", s.Encoding)
	}
	if !s.Key.valid() {
		p.add("key", "unknown key format %d", s.Key)
	}
	if s.MinKey < 0 || s.MaxKey < 0 || s.MaxKey > 0 && s.MinKey > s.MaxKey {
		p.add("key", "no length is at least %d and at most %d bytes", s.MinKey, s.MaxKey)
	}
	if s.Tolerance < 0 {
		p.add("tolerance", "%v is negative", s.Tolerance)
	}
	s.checkHeaders(p)
	s.checkList(p)
	s.checkTimestamp(p)
	s.Signed.declared(s, p)
}

func (s *Scheme) checkHeaders(p *problems) {
	if !token(s.Header) {
		p.add("header", "%q is not a header name", s.Header)
	}
	if s.ID != "" && !token(s.ID) {
		p.add("id", "%q is not a header name", s.ID)
	}
	if s.Timestamp.Header != "" && !token(s.Timestamp.Header) {
		p.add("timestamp", "%q is not a header name", s.Timestamp.Header)
	}
	if s.ID != "" && strings.EqualFold(s.ID, s.Header) {
		p.add("id", "%s is the header of the signature", s.ID)
	}
	if s.Timestamp.Header != "" && (strings.EqualFold(s.Timestamp.Header, s.Header) || strings.EqualFold(s.Timestamp.Header, s.ID)) {
		p.add("timestamp", "%s has another use already", s.Timestamp.Header)
	}
	if !visible(s.Prefix) {
		p.add("prefix", "%q has characters that a header cannot carry", s.Prefix)
	}
}

func (s *Scheme) checkList(p *problems) {
	l := s.List
	if l.IsZero() {
		return
	}
	switch {
	case !visible(l.Separator + l.Assign + l.Label):
		p.add("list", "it has characters that a header cannot carry")
	case l.Separator == "":
		p.add("list", "a list needs a separator")
	case (l.Assign == "") != (l.Label == ""):
		p.add("list", "a label and what stands behind it need each other")
	case l.Assign != "" && (strings.Contains(l.Separator, l.Assign) || strings.Contains(l.Assign, l.Separator)):
		p.add("list", "%q cannot both separate elements and end a label", l.Separator)
	case strings.Contains(l.Label, l.Separator) || l.Assign != "" && strings.Contains(l.Label, l.Assign):
		p.add("list", "label %q contains what ends it", l.Label)
	case s.Encoding.valid() && strings.ContainsAny(l.Separator, s.Encoding.alphabet()) || strings.Contains(s.Prefix, l.Separator):
		p.add("list", "%q can be part of a signature, so it cannot separate them", l.Separator)
	}
}

func (s *Scheme) checkTimestamp(p *problems) {
	t := s.Timestamp
	if !t.Unit.valid() {
		p.add("timestamp", "unknown unit %d", t.Unit)
		return
	}
	if t.Label == "" || !s.List.IsZero() && s.List.Separator == "" {
		return
	}
	switch {
	case t.Header != "":
		p.add("timestamp", "it stands in a header or in the list, not in both")
	case s.List.Assign == "":
		p.add("timestamp", "label %q needs a list with labels", t.Label)
	case t.Label == s.List.Label:
		p.add("timestamp", "label %q is that of the signatures", t.Label)
	case strings.Contains(t.Label, s.List.Separator) || strings.Contains(t.Label, s.List.Assign) || !visible(t.Label):
		p.add("timestamp", "label %q cannot stand in the list", t.Label)
	case strings.ContainsAny(s.List.Separator, t.Unit.alphabet()):
		p.add("timestamp", "%q can be part of it, so it cannot separate elements", s.List.Separator)
	}
}

// token reports whether s is a header name (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// visible reports whether s may stand inside a header's value.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
