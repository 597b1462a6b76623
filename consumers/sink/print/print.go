// Package print writes events for people and for pipes: it owns the text
// formats that the print sink and commands share, and the handler that writes
// each event to a writer.
//
// An event is one Write, so that lines of several writers do not mix. The
// handler is of delivery mode each: at least once, in no order.
package print

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"hooklog/consumers"
	"hooklog/schemas"
)

// Format is how an event is written.
type Format string

// The formats.
const (
	// Pretty is a line for people: time received, source, type, ID, position,
	// size of the body.
	Pretty Format = "pretty"
	// JSON is a line of CloudEvents JSON; see schemas.AppendJSON.
	JSON Format = "json"
	// Body is the body byte for byte, with nothing after it.
	Body Format = "body"
)

// ParseFormat returns the format of that name; the empty one is Pretty.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case "":
		return Pretty, nil
	case Pretty, JSON, Body:
		return f, nil
	}
	return "", fmt.Errorf("format %q is none of pretty, json, body", name)
}

// Append appends the event in this format, with the line feed of a line. It
// returns an error if the event cannot be encoded, or for an unknown format.
func (f Format) Append(dst []byte, e *schemas.Event) ([]byte, error) {
	switch f {
	case "", Pretty:
		return appendPretty(dst, e), nil
	case JSON:
		dst, err := schemas.AppendJSON(dst, e)
		if err != nil {
			return dst, err
		}
		return append(dst, '\n'), nil
	case Body:
		return append(dst, e.Body...), nil
	}
	_, err := ParseFormat(string(f))
	return dst, err
}

func appendPretty(dst []byte, e *schemas.Event) []byte {
	dst = e.Received.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	for _, text := range []string{string(e.Source), string(e.Type), string(e.ID), e.Position.String()} {
		dst = append(dst, "  "...)
		dst = append(dst, printable(text)...)
	}
	dst = append(dst, "  "...)
	return append(append(dst, size(len(e.Body))...), '\n')
}

// printable escapes what would move a terminal's cursor or break the line:
// the log may hold records of any producer.
func printable(s string) string {
	safe := utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
	if safe && s != "" {
		return s
	}
	return strconv.Quote(s)
}

func size(n int) string {
	switch {
	case n < 1<<10:
		return strconv.Itoa(n) + " B"
	case n < 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
}

// Sink writes events to a writer. It is safe for concurrent use.
type Sink struct {
	format Format

	mu sync.Mutex
	w  io.Writer
}

var _ consumers.Handler = (*Sink)(nil)

// New returns a sink that writes to w, one Write per event, never two at once.
// The empty format is Pretty. The caller keeps w, and closes it.
func New(w io.Writer, format Format) *Sink { return &Sink{w: w, format: format} }

// writeRetry is the wait after a failed write: the reader of a pipe that is
// full or gone does not come back within milliseconds.
const writeRetry = time.Second

// Handle writes one event. An error of the writer is tried again by the
// group's policy, so part of an event may be written twice; an event that
// cannot be encoded fails for good.
func (s *Sink) Handle(_ context.Context, ev schemas.Event) error {
	b, err := s.format.Append(nil, &ev)
	if err != nil {
		return consumers.Permanent(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.w.Write(b); err != nil {
		return consumers.RetryAfter(fmt.Errorf("print event: %w", err), writeRetry)
	}
	return nil
}
