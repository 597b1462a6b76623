package relay

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hooklog/schemas"
)

// hooksPath is what stands before the source's name in an address.
const hooksPath = "/hooks/"

// source is a Source with its defaults filled in and its counters at hand.
type source struct {
	Source
	scheme   string
	requests [outcomeCount]prometheus.Counter
	verified map[string]prometheus.Counter // by secret ID
	conflict prometheus.Counter
}

// sources is the immutable table of who may send.
type sources struct {
	byName map[string]*source
	// nobody counts requests that belong to no source.
	nobody *source
}

func newSources(list []Source, window time.Duration, m *metrics) (*sources, error) {
	t := &sources{byName: make(map[string]*source, len(list)), nobody: &source{}}
	m.resolve(t.nobody, "_unknown") // no source can have that name
	var errs []error
	for _, s := range list {
		if err := s.validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		if t.byName[string(s.Name)] != nil {
			errs = append(errs, fmt.Errorf("source %q is declared twice", s.Name))
			continue
		}
		src := &source{Source: s.withDefaults(window), scheme: schemas.SchemeNone}
		if s.Verifier != nil {
			src.scheme = s.Verifier.Scheme()
		}
		m.resolve(src, string(s.Name))
		t.byName[string(s.Name)] = src
	}
	return t, errors.Join(errs...)
}

func (s *Source) validate() error {
	if err := schemas.CheckSourceName(string(s.Name)); err != nil {
		return err
	}
	switch {
	case s.Verifier == nil && !s.Unverified:
		return fmt.Errorf("source %q has no verifier: declare a preset or a scheme, or say unverified", s.Name)
	case s.Verifier != nil && s.Unverified:
		return fmt.Errorf("source %q has a verifier and is declared unverified", s.Name)
	case s.Topic == "":
		return fmt.Errorf("source %q has no topic", s.Name)
	case s.MaxBody < 0 || s.Deadline < 0 || s.Window < 0:
		return fmt.Errorf("source %q: max body %d bytes, deadline %v and window %v must not be negative", s.Name, s.MaxBody, s.Deadline, s.Window)
	case s.Response != nil && s.Response.Status != 0 && (s.Response.Status < 200 || s.Response.Status > 299):
		return fmt.Errorf("source %q: response status %d is not 2xx", s.Name, s.Response.Status)
	}
	return nil
}

func (s Source) withDefaults(window time.Duration) Source {
	if s.Window == 0 {
		s.Window = window
	}
	if s.MaxBody == 0 {
		s.MaxBody = DefaultMaxBody
	}
	if s.Deadline == 0 {
		s.Deadline = DefaultDeadline
	}
	if s.Response != nil && s.Response.Status == 0 {
		r := *s.Response
		r.Status = Accepted.Status()
		s.Response = &r
	}
	return s
}

// lookup returns the source that a request target names, or nil. The name
// stands there as it is configured: it has no character that needs an escape.
func (t *sources) lookup(target []byte) *source {
	path, _, _ := bytes.Cut(target, []byte("?"))
	if len(path) > 0 && path[0] != '/' {
		// The absolute form, which a server must accept (RFC 9112, 3.2.2).
		_, rest, _ := bytes.Cut(path, []byte("://"))
		path = rest[max(0, bytes.IndexByte(rest, '/')):]
	}
	name, ok := bytes.CutPrefix(path, []byte(hooksPath))
	if !ok {
		return nil
	}
	return t.byName[string(name)]
}

// topics returns the distinct topics, with the largest body any source may put
// into each.
func (t *sources) topics() map[string]int {
	out := make(map[string]int)
	for _, s := range t.byName {
		out[s.Topic] = max(out[s.Topic], s.MaxBody)
	}
	return out
}

// longestWindow is what the index has to remember.
func (t *sources) longestWindow(otherwise time.Duration) time.Duration {
	d := otherwise
	for _, s := range t.byName {
		d = max(d, s.Window)
	}
	return d
}

// spool reports whether any source spools.
func (t *sources) spool() bool {
	for _, s := range t.byName {
		if s.Outage == OutageSpool {
			return true
		}
	}
	return false
}

// window is how long IDs of a source are remembered; zero for one that is not
// ours: as long as the index does.
func (t *sources) window(name schemas.SourceName) time.Duration {
	if s := t.byName[string(name)]; s != nil {
		return s.Window
	}
	return 0
}

// longestDeadline is after which silence of the brokers no request can be
// served any more.
func (t *sources) longestDeadline() time.Duration {
	var d time.Duration
	for _, s := range t.byName {
		d = max(d, s.Deadline)
	}
	return d
}
