package file

import (
	"errors"
	"log/slog"
	"time"
)

// Defaults of Options.
const (
	DefaultRollAfter = time.Minute // how late a reader of finished files is at most
	DefaultRollBytes = 128 << 20   // what query engines like to read at once
)

// Options are what a Sink needs.
type Options struct {
	// Dir is the folder; it is made if needed. It belongs to this sink alone.
	Dir string
	// RollAfter is when a file is finished after its first event at the
	// latest, and with it all open files of its partition; zero means 1 min.
	// Offsets are committed then, so it also bounds what is read again after
	// a crash.
	RollAfter time.Duration
	// RollBytes finishes a file that has reached this size; zero means
	// 128 MiB. A file may be larger by what one poll brings.
	RollBytes int64
	// Logger may be nil, for none.
	Logger *slog.Logger
}

type optionError struct{ field, text string }

func (e *optionError) Error() string { return e.field + ": " + e.text }
func (e *optionError) Field() string { return e.field }

// Validate reports all mistakes at once, as joined errors that each have a
// method Field() string. It opens nothing.
func (o *Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, &optionError{"dir", "a file sink needs a folder"})
	}
	if o.RollAfter < 0 {
		errs = append(errs, &optionError{"roll_after", o.RollAfter.String() + " is negative"})
	}
	if o.RollBytes < 0 {
		errs = append(errs, &optionError{"roll_bytes", "it is negative"})
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.RollAfter == 0 {
		o.RollAfter = DefaultRollAfter
	}
	if o.RollBytes == 0 {
		o.RollBytes = DefaultRollBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
