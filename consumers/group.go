package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Group is one consumer group member. Make it with New.
type Group struct {
	opts    Options
	metrics *metrics
	router  *router
	ran     atomic.Bool

	mu      sync.Mutex
	session *session
	failed  error
}

// New checks the options and returns a group that Run runs. It registers the
// metrics; it opens no connection and writes nothing.
func New(o Options) (*Group, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of group %q: %w", o.Group, err)
	}
	for _, r := range o.Routes {
		m.declare(o.Group, r.Name)
	}
	return &Group{opts: o, metrics: m, router: newRouter(o.Routes)}, nil
}

// fatalError ends Run: another attempt would not help.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func fatal(err error) error { return &fatalError{err} }

// Waits between sessions that fail.
var sessionRetry = Retry{Min: time.Second, Max: 30 * time.Second}

// Run consumes until ctx ends. Then it waits for running handlers, or flushes
// the sinks, for at most DrainTimeout, commits, leaves the group, and returns
// nil; it returns an error if work was left undone, which comes again, or
// if the group cannot run at all. It returns when everything it started has
// ended, so a handler that ignores its context holds it up. While the brokers
// cannot be reached, or a sink fails, it tries again. It runs once.
func (g *Group) Run(ctx context.Context) error {
	if g.ran.Swap(true) {
		return errors.New("a group runs once")
	}
	// The limit of the dead-letter topic, until it is known.
	var maxBytes atomic.Int32
	maxBytes.Store(defaultMaxMessage)
	for failures := 0; ; {
		begin := time.Now()
		err := g.once(ctx, &maxBytes)
		var f *fatalError
		switch {
		case ctx.Err() != nil:
			return err
		case errors.As(err, &f):
			return f.err
		}
		if errors.Is(err, errAgain) || time.Since(begin) > time.Minute {
			failures = 0
		}
		failures++
		wait := sessionRetry.Wait(failures, err)
		g.note(nil, err)
		g.opts.Logger.ErrorContext(ctx, "group interrupted, trying again", "group", g.opts.Group, "wait", wait, "err", err)
		if !pause(wait, ctx.Done()) {
			return nil
		}
	}
}

// once runs one session.
func (g *Group) once(ctx context.Context, maxBytes *atomic.Int32) error {
	g.metrics.sessions.WithLabelValues(g.opts.Group).Inc()
	m, err := prepare(ctx, &g.opts, maxBytes)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s, err := newSession(ctx, &g.opts, g.metrics, m, maxBytes, g.router)
	if err != nil {
		return err
	}
	g.note(s, nil)
	defer g.note(nil, nil)
	return s.run(ctx)
}

func (g *Group) note(s *session, failed error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.session, g.failed = s, failed
}

// Status returns what the group is doing now. It is safe for concurrent use,
// also before and after Run.
func (g *Group) Status() Status {
	g.mu.Lock()
	s, failed := g.session, g.failed
	g.mu.Unlock()
	st := Status{Group: g.opts.Group, Partitions: []PartitionStatus{}}
	if failed != nil {
		st.Error = failed.Error()
	}
	if s != nil {
		st.Member, _ = s.client.GroupMetadata()
		st.Partitions = append(st.Partitions, s.status()...)
	}
	return st
}
