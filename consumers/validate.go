package consumers

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// optionError is one mistake in Options. Field names where it is, as a path of
// lower-case names such as routes[1].type, so that a configuration can find
// its line.
type optionError struct {
	field string
	text  string
}

func (e *optionError) Error() string { return e.field + ": " + e.text }
func (e *optionError) Field() string { return e.field }

// Validate reports all mistakes at once, as joined errors that each have a
// method Field() string. It opens nothing.
func (o *Options) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &optionError{field, fmt.Sprintf(format, args...)})
	}
	if o.Group == "" {
		bad("group", "a group needs a name")
	}
	if len(o.Topics) == 0 {
		bad("topics", "a group needs a topic to read")
	}
	seen := make(map[string]bool)
	for i, t := range o.Topics {
		if err := checkTopicName(t); err != nil {
			bad(fmt.Sprintf("topics[%d]", i), "%v", err)
		} else if seen[t] {
			bad(fmt.Sprintf("topics[%d]", i), "topic %q is named twice", t)
		}
		seen[t] = true
	}
	if dead := o.deadLetter(); o.Group != "" {
		if err := checkTopicName(dead); err != nil {
			bad("dead_letter", "%v", err)
		} else if seen[dead] {
			bad("dead_letter", "topic %q is also read: what fails would come back for ever", dead)
		}
	}
	if o.DeadLetterReplication < 0 {
		bad("dead_letter_replication", "%d is negative", o.DeadLetterReplication)
	}
	if o.Start.Latest && !o.Start.Time.IsZero() {
		bad("start", "latest and a time exclude each other")
	}
	if o.Dir == "" && (o.Start.Latest || !o.Start.Time.IsZero()) {
		bad("dir", "a start that skips records needs a folder: without it a group whose committed offsets expired would skip again")
	}
	if o.MaxInFlight < 0 {
		bad("max_in_flight", "%d is negative", o.MaxInFlight)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"timeout", o.Timeout}, {"drain_timeout", o.DrainTimeout}, {"commit_every", o.CommitEvery}, {"retry.min", o.Retry.Min}, {"retry.max", o.Retry.Max}} {
		if d.value < 0 {
			bad(d.field, "%v is negative", d.value)
		}
	}
	if o.Retry.Attempts < 0 {
		bad("retry.attempts", "%d is negative", o.Retry.Attempts)
	}
	if r := o.Retry.withDefaults(); r.Min > r.Max && o.Retry.Min >= 0 && o.Retry.Max >= 0 {
		bad("retry.min", "%v is more than the longest wait, %v", r.Min, r.Max)
	}
	if o.OnLostOffset > LostOffsetEarliest {
		bad("on_lost_offset", "%d is unknown", o.OnLostOffset)
	}
	return errors.Join(append(errs, o.validateRoutes()...)...)
}

func (o *Options) validateRoutes() (errs []error) {
	bad := func(i int, field, format string, args ...any) {
		errs = append(errs, &optionError{fmt.Sprintf("routes[%d]%s", i, field), fmt.Sprintf(format, args...)})
	}
	if len(o.Routes) == 0 {
		errs = append(errs, &optionError{"routes", "a group needs a route"})
	}
	names := make(map[string]bool)
	first := -1 // the first route that says which kind the group is
	for i := range o.Routes {
		r := &o.Routes[i]
		switch {
		case r.Name == "" && len(o.Routes) > 1:
			bad(i, ".name", "a group with several routes needs a name for each")
		case r.Name != "" && names[r.Name]:
			bad(i, ".name", "%q is taken by another route", r.Name)
		}
		names[r.Name] = true
		f, isFunc := r.Handler.(HandlerFunc)
		switch {
		case r.Handler == nil && r.Sink == nil:
			bad(i, "", "a route needs a handler or a sink")
			continue
		case r.Handler != nil && r.Sink != nil:
			bad(i, "", "a route has a handler or a sink, not both")
			continue
		case isFunc && f == nil:
			bad(i, "", "the handler is a nil function")
		}
		if first < 0 {
			first = i
		} else if (o.Routes[first].Sink == nil) != (r.Sink == nil) {
			bad(i, "", "routes to handlers and routes to sinks exclude each other, since a slow handler must not hold a flush open: make two groups")
		}
	}
	return errs
}

func (o *Options) deadLetter() string {
	if o.DeadLetter != "" {
		return o.DeadLetter
	}
	return o.Group + ".dead"
}

// withDefaults returns a copy in which no zero value is left.
func (o Options) withDefaults() Options {
	o.DeadLetter = o.deadLetter()
	o.Retry = o.Retry.withDefaults()
	orDefault(&o.Timeout, DefaultTimeout)
	orDefault(&o.MaxInFlight, DefaultMaxInFlight)
	orDefault(&o.DrainTimeout, DefaultDrainTimeout)
	orDefault(&o.CommitEvery, DefaultCommitEvery)
	orDefault(&o.DeadLetterReplication, 1)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (r Retry) withDefaults() Retry {
	orDefault(&r.Attempts, DefaultAttempts)
	orDefault(&r.Min, DefaultRetryMin)
	orDefault(&r.Max, max(DefaultRetryMax, r.Min))
	return r
}

func orDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// checkTopicName reports whether Kafka takes a name for a topic.
func checkTopicName(s string) error {
	ok := s != "" && len(s) <= 249 && s != "." && s != ".."
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("topic name %q is not 1 to 249 of letters, digits, '.', '_' and '-'", s)
	}
	return nil
}
