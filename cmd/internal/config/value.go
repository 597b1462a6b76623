package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// text is a scalar. The zero value is one that the file does not have.
type text struct {
	place
	value string
	// source is the text as written, variables not expanded.
	source  string
	fromEnv bool
}

// isSet reports whether the file has the value. One that could not be
// expanded is not set, since its mistake is noted already.
func (t *text) isSet() bool { return t.line != 0 }

// or returns the value, or a default where it is not set.
func (t *text) or(value string) string {
	if t.isSet() {
		return t.value
	}
	return value
}

// shown returns the text for a message: as written, so that no variable's
// value is in it, in quotes and not too long.
func (t *text) shown() string { return shown(t.source) }

// looksSecret finds what nobody writes but as a secret, in a place that is
// not made for one: there it must not be repeated.
var looksSecret = regexp.MustCompile(`(?i)wh(sec|sk)_|://[^/]*@`)

func shown(source string) string {
	const longest = 80
	if looksSecret.MatchString(source) {
		return "REDACTED"
	}
	if r := []rune(source); len(r) > longest {
		source = string(r[:longest]) + "..."
	}
	return strconv.Quote(source)
}

func (t *text) decode(d *decoder, n ast.Node, path string) {
	source, ok := d.scalar(n, path)
	if !ok {
		return
	}
	at := nodePlace(n, path)
	v, fromEnv, ok := d.expand(at, source)
	if !ok {
		return
	}
	*t = text{place: at, value: v, source: show(source), fromEnv: fromEnv}
}

// secret is a text that is never shown. It may be "file:PATH", which stands
// for what the file holds, less the line break at its end.
type secret struct {
	place
	// reveal returns the text; nil if the file has none. A closure keeps it
	// from fmt, which prints the fields of nested structs.
	reveal func() string
}

func (s *secret) isSet() bool { return s.line > 0 }

func (s *secret) decode(d *decoder, n ast.Node, path string) {
	var t text
	t.decode(d, n, path)
	if !t.isSet() {
		return
	}
	v := t.value
	if strings.HasPrefix(t.source, "file:") {
		b, ok := d.readFile(t.place, strings.TrimPrefix(v, "file:"))
		if !ok {
			return
		}
		v = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if v == "" {
			d.wrong(t.place, "the file "+shown(strings.TrimPrefix(t.source, "file:"))+" is empty")
			return
		}
	}
	if v == "" {
		d.wrong(t.place, "it is empty")
		return
	}
	if strings.TrimSpace(v) != v {
		d.doubt(t.place, "the secret begins or ends with white space", "is that part of it?")
	}
	s.place, s.reveal = t.place, func() string { return v }
}

// maxReadBytes bounds a file that a value refers to; bundles of certificates
// are the largest.
const maxReadBytes = 1 << 20

// readFile reads a file that is named relative to the configuration's folder.
func (d *decoder) readFile(at place, name string) ([]byte, bool) {
	if name == "" {
		d.wrong(at, "a file's name is missing", "write file:PATH")
		return nil, false
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(d.file), name)
	}
	b, err := d.env.ReadFile(name)
	if err != nil {
		// The error has the whole path, and a variable may be part of that.
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		d.wrong(at, "cannot read the file: "+err.Error(), "paths are relative to the folder of "+filepath.Base(d.file))
		return nil, false
	}
	if len(b) > maxReadBytes {
		d.wrong(at, fmt.Sprintf("the file has %d bytes, more than %d", len(b), maxReadBytes))
		return nil, false
	}
	return b, true
}

// flag is true or false.
type flag struct {
	text
	value bool
}

func (v *flag) decode(d *decoder, n ast.Node, path string) {
	decodeAs(d, n, path, &v.text, &v.value, func(s string) (bool, error) {
		if s != "true" && s != "false" {
			return false, errors.New("want true or false")
		}
		return s == "true", nil
	})
}

// instant is a time in RFC 3339.
type instant struct {
	text
	value time.Time
}

func (v *instant) decode(d *decoder, n ast.Node, path string) {
	decodeAs(d, n, path, &v.text, &v.value, parseInstant)
}

func parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, errors.New("want a time such as 2026-01-31T09:00:00Z")
	}
	return t, nil
}

// decodeAs decodes a text and parses it. The parser's errors say what was
// wanted, and not what was got: that may be a variable's value.
func decodeAs[T any](d *decoder, n ast.Node, path string, t *text, v *T, parse func(string) (T, error)) {
	t.decode(d, n, path)
	if !t.isSet() {
		return
	}
	parsed, err := parse(t.value)
	if err != nil {
		d.wrong(t.place, err.Error()+", got "+t.shown())
		*t = text{}
		return
	}
	*v = parsed
}
