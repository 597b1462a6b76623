package schemas

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// Lookup returns the first value of a header by its lower-case name, or nil if
// there is none.
type Lookup func(name string) []byte

// Extractor says where in a request a text stands: in a header, at a path of
// the JSON body, or in the hash of the body; several parts are joined. The
// zero value finds nothing. It is immutable and safe for concurrent use.
type Extractor struct {
	parts     []part
	separator string
	otherwise *Extractor
}

type partKind uint8

const (
	partHeader partKind = iota
	partBody
	partHash
)

type part struct {
	kind partKind
	// name is a lower-case header name, or a path escaped for gjson.
	name string
	text string
}

// ParseExtractor parses specs of the forms "header:NAME", "body:PATH" (dotted
// names and array indexes; a name with a dot in it cannot be reached) and
// "sha256". Several are joined by separator, and all of them must be there for
// the whole to be found.
func ParseExtractor(separator string, specs ...string) (Extractor, error) {
	if len(specs) == 0 {
		return Extractor{}, errors.New("no extractor given")
	}
	x := Extractor{separator: separator}
	for _, spec := range specs {
		p, err := parsePart(spec)
		if err != nil {
			return Extractor{}, err
		}
		x.parts = append(x.parts, p)
	}
	return x, nil
}

// MustExtractor is ParseExtractor for declarations in code; it panics on a
// mistake.
func MustExtractor(separator string, specs ...string) Extractor {
	x, err := ParseExtractor(separator, specs...)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return x
}

// Else returns an extractor that tries x and, where x finds nothing, y.
func (x Extractor) Else(y Extractor) Extractor {
	if x.IsZero() {
		return y
	}
	if y.IsZero() {
		return x
	}
	if x.otherwise != nil {
		y = x.otherwise.Else(y)
	}
	x.otherwise = &y
	return x
}

// IsZero reports whether the extractor finds nothing anywhere.
func (x Extractor) IsZero() bool { return len(x.parts) == 0 }

// String returns the extractor as it would be written in a configuration.
func (x Extractor) String() string {
	var b strings.Builder
	for i, p := range x.parts {
		if i > 0 {
			b.WriteString(x.separator)
		}
		b.WriteString(p.text)
	}
	if x.otherwise != nil {
		b.WriteString(" else ")
		b.WriteString(x.otherwise.String())
	}
	return b.String()
}

func parsePart(spec string) (part, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	switch kind {
	case "sha256":
		if spec != kind {
			return part{}, fmt.Errorf("extractor %q: sha256 takes no argument", spec)
		}
		return part{kind: partHash, text: spec}, nil
	case "header":
		if !token(rest) {
			return part{}, fmt.Errorf("extractor %q: %q is not a header name", spec, rest)
		}
		return part{kind: partHeader, name: strings.ToLower(rest), text: spec}, nil
	case "body":
		path, err := escapePath(rest)
		if err != nil {
			return part{}, fmt.Errorf("extractor %q: %w", spec, err)
		}
		return part{kind: partBody, name: path, text: spec}, nil
	}
	return part{}, fmt.Errorf("extractor %q is none of header:NAME, body:PATH, sha256", spec)
}

// token reports whether s is a header name (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// escapePath turns dotted names into a gjson path in which no character but
// the dot has a meaning: a path names one value, it is not a query.
func escapePath(path string) (string, error) {
	var b strings.Builder
	for i, name := range strings.Split(path, ".") {
		if name == "" {
			return "", fmt.Errorf("path %q has an empty name", path)
		}
		if i > 0 {
			b.WriteByte('.')
		}
		for j := 0; j < len(name); j++ {
			if strings.IndexByte(`\*?|#@!{}[]()=<>%"'+~,:&`, name[j]) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(name[j])
		}
	}
	return b.String(), nil
}

// Extract returns the text, and whether it is there. Strings are unquoted,
// numbers and booleans are taken as they are written; objects, arrays, null
// and the empty string are not there. The body is not validated: in a body
// that is no JSON at most something meaningless is found, never an error.
func (x Extractor) Extract(header Lookup, body []byte) (string, bool) {
	text, ok := x.extract(header, body)
	if !ok && x.otherwise != nil {
		return x.otherwise.Extract(header, body)
	}
	return text, ok
}

func (x Extractor) extract(header Lookup, body []byte) (string, bool) {
	if len(x.parts) == 1 {
		return x.parts[0].extract(header, body)
	}
	if len(x.parts) == 0 {
		return "", false
	}
	var b strings.Builder
	for i, p := range x.parts {
		text, ok := p.extract(header, body)
		if !ok {
			return "", false
		}
		if i > 0 {
			b.WriteString(x.separator)
		}
		b.WriteString(text)
	}
	return b.String(), true
}

func (p part) extract(header Lookup, body []byte) (string, bool) {
	switch p.kind {
	case partHeader:
		v := header(p.name)
		return string(v), len(v) > 0
	case partHash:
		return hashText(body), true
	case partBody:
		r := gjson.GetBytes(body, p.name)
		switch r.Type {
		case gjson.String:
			return r.Str, r.Str != ""
		case gjson.Number, gjson.True, gjson.False:
			return r.Raw, true
		case gjson.JSON, gjson.Null:
		}
	}
	return "", false
}
