package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"hooklog/consumers/sink/file"
	"hooklog/consumers/sink/print"
)

// Target is where a route sends to; exactly one field is set.
type Target struct {
	// Handler names a Go handler.
	Handler string
	// Print is the format of what goes to standard output.
	Print print.Format
	// File lacks the Logger.
	File *file.Options
}

// mode is how a group delivers; all of its routes share one.
type mode string

const (
	modeEach  mode = "each"
	modeBatch mode = "batch"
)

// target checks where a route sends to; the mode is empty if that is not
// known.
func (b *builder) target(r *routeDoc, dirs map[string]place) (t Target, m mode) {
	to := r.To.toFields
	if to == nil {
		if !b.mentioned(join(r.path, "to")) {
			b.wrong(r.place, "to is missing", "to: print, to: {file: {dir: ./out}} or to: {handler: NAME}")
		}
		return t, ""
	}
	said := 0
	for _, is := range []bool{to.Print != nil, to.File != nil, to.Handler.isSet(), to.Topic.line > 0, to.HTTP.line > 0} {
		if is {
			said++
		}
	}
	switch {
	case said > 1:
		b.wrong(r.To.place, "a route sends to one place", "write a route for each")
	case said == 0:
		if !b.mentioned(join(r.path, "to")) {
			b.wrong(r.To.place, "it says nowhere", "to: print, to: {file: {dir: ./out}} or to: {handler: NAME}")
		}
	case to.Topic.line > 0:
		b.notYet(to.Topic.place, "sinks of kind topic")
	case to.HTTP.line > 0:
		b.notYet(to.HTTP.place, "sinks of kind http")
	case to.Print != nil:
		return Target{Print: b.printFormat(&to.Print.Format)}, modeEach
	case to.File != nil:
		return Target{File: b.fileTarget(to.File, dirs)}, modeBatch
	default:
		return Target{Handler: b.handler(&to.Handler)}, modeEach
	}
	return t, ""
}

func (b *builder) printFormat(t *text) print.Format {
	f, err := print.ParseFormat(t.value)
	if err != nil {
		names := []string{string(print.Pretty), string(print.JSON), string(print.Body)}
		b.wrong(t.place, "unknown format "+t.shown(), didYouMean(t.value, names), strings.Join(names, ", "))
	}
	return f
}

func (b *builder) fileTarget(doc *fileDoc, dirs map[string]place) *file.Options {
	switch f := &doc.Format; {
	case f.value == "parquet":
		b.notYet(f.place, "format: parquet", "ndjson")
	case f.or("ndjson") != "ndjson":
		b.wrong(f.place, "unknown format "+f.shown(), "ndjson")
	}
	t := &file.Options{RollAfter: doc.RollAfter.value, RollBytes: doc.RollBytes.value}
	if b.required(&doc.Dir, doc.block, "dir", "dir: ./out") {
		t.Dir = filepath.Clean(doc.Dir.value)
		if other, taken := dirs[t.Dir]; taken {
			b.wrong(doc.Dir.place, fmt.Sprintf("the route in line %d writes there already, and a folder has one writer", other.line))
		} else {
			dirs[t.Dir] = doc.Dir.place
		}
	}
	if d := doc.RollAfter; d.isSet() && d.value < minRollAfter {
		b.wrong(d.place, fmt.Sprintf("want at least %v, got %s", minRollAfter, d.shown()))
	}
	if s := doc.RollBytes; s.isSet() && s.value < minRollBytes {
		b.wrong(s.place, fmt.Sprintf("want at least %d bytes, got %s", minRollBytes, s.shown()))
	}
	return t
}

func (b *builder) handler(t *text) string {
	if _, ok := b.env.Handlers[t.value]; ok {
		return t.value
	}
	known := make([]string, 0, len(b.env.Handlers))
	for name := range b.env.Handlers {
		known = append(known, name)
	}
	slices.Sort(known)
	hint := "this program has none"
	if len(known) > 0 {
		hint = "there are " + strings.Join(known, ", ")
	}
	b.wrong(t.place, "unknown handler "+t.shown(), didYouMean(t.value, known), hint)
	return ""
}
