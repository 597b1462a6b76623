package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"hooklog/schemas"
)

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, ev schemas.Event) error

// Handle calls the function.
func (f HandlerFunc) Handle(ctx context.Context, ev schemas.Event) error { return f(ctx, ev) }

// Handle returns a route that sends the events whose type matches the glob to
// a handler, from every source. The pattern is the route's name too.
func Handle(pattern string, h Handler) Route {
	return Route{Name: pattern, Type: pattern, Handler: h}
}

// HandleFunc is Handle for a function.
func HandleFunc(pattern string, f func(ctx context.Context, ev schemas.Event) error) Route {
	return Handle(pattern, HandlerFunc(f))
}

// HandleJSON is Handle for a function that gets the body decoded; see JSON.
func HandleJSON[T any](pattern string, f func(ctx context.Context, ev schemas.Event, body T) error) Route {
	return Handle(pattern, JSON(f))
}

// JSON returns a handler that decodes the event's body for f. A body that does
// not decode fails for good, since it will not get better; names that T does
// not know are ignored.
func JSON[T any](f func(ctx context.Context, ev schemas.Event, body T) error) Handler {
	return HandlerFunc(func(ctx context.Context, ev schemas.Event) error {
		var body T
		if err := json.Unmarshal(ev.Body, &body); err != nil {
			return Permanent(fmt.Errorf("decode body: %w", err))
		}
		return f(ctx, ev, body)
	})
}

// maxRetryAfter bounds what RetryAfter is granted: an event that waits holds
// its partition's offset.
const maxRetryAfter = time.Hour

type retryAfterError struct {
	err   error
	after time.Duration
}

func (e *retryAfterError) Error() string             { return e.err.Error() }
func (e *retryAfterError) Unwrap() error             { return e.err }
func (e *retryAfterError) RetryAfter() time.Duration { return e.after }

// RetryAfter returns err with the wish not to be tried again sooner than d,
// such as an HTTP Retry-After; more than an hour is taken as an hour. It still
// is one attempt. A nil err stays nil. Any error with a method
// RetryAfter() time.Duration in its chain has the same effect.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, d}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true }

// Permanent returns err as one that no other attempt will mend: the event is
// dead-lettered at once. A nil err stays nil. Any error with a method
// Permanent() bool in its chain that returns true has the same effect.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// ErrorClass says in one word what made an event a dead letter. The set is
// closed.
type ErrorClass string

// The classes. A panic and a timeout are retried like any other error, and
// name the last attempt.
const (
	ClassError     ErrorClass = "error"     // the handler's error, on the last attempt
	ClassPermanent ErrorClass = "permanent" // an error that is Permanent
	ClassTimeout   ErrorClass = "timeout"   // the attempt took longer than Options.Timeout
	ClassPanic     ErrorClass = "panic"     // the handler panicked
	ClassNotEvent  ErrorClass = "not_event" // the record is not a hooklog event
)

// Attempt runs a handler once, as a group does: for at most timeout, with a
// panic turned into an error. The class is empty if the error is nil.
func Attempt(ctx context.Context, h Handler, ev schemas.Event, timeout time.Duration) (ErrorClass, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := call(ctx, h, ev)
	if err == nil {
		return "", nil
	}
	return classOf(err, ctx.Err()), err
}

// classOf returns the class of an error of a handler, whose context ended with
// ctxErr (nil if it did not).
func classOf(err, ctxErr error) ErrorClass {
	var permanent interface{ Permanent() bool }
	var panicked *panicError
	switch {
	case errors.As(err, &panicked):
		return ClassPanic
	case errors.As(err, &permanent) && permanent.Permanent():
		return ClassPermanent
	case errors.Is(ctxErr, context.DeadlineExceeded):
		return ClassTimeout
	}
	return ClassError
}

// panicError is a handler's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.value) }

func call(ctx context.Context, h Handler, ev schemas.Event) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return h.Handle(ctx, ev)
}
