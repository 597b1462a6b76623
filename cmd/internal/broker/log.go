package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// A logger passes kfake's lines on to slog. kfake reports a failed save only
// as a line, so errors can be collected from it.
type logger struct {
	*slog.Logger

	mu         sync.Mutex
	collecting bool
	errs       []error
	said       map[string]*repeats // by format, of which kfake has a fixed number
}

type repeats struct {
	last    time.Time
	dropped int
}

// sayEvery is how often one warning is repeated. A full disk is one for each
// batch.
const sayEvery = 10 * time.Second

func newLogger(l *slog.Logger) *logger {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &logger{Logger: l, said: make(map[string]*repeats)}
}

// Logf implements kfake.Logger.
func (l *logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError, kfake.LogLevelWarn:
	default:
		l.Debug("kafka", "line", fmt.Sprintf(format, args...))
		return
	}
	line := fmt.Sprintf(format, args...)
	l.mu.Lock()
	if l.collecting && level == kfake.LogLevelError {
		l.errs = append(l.errs, errors.New(line))
	}
	r := l.said[format]
	if r == nil {
		r = &repeats{}
		l.said[format] = r
	}
	now := time.Now()
	if now.Sub(r.last) < sayEvery {
		r.dropped++
		l.mu.Unlock()
		return
	}
	dropped := r.dropped
	*r = repeats{last: now}
	l.mu.Unlock()
	l.Warn("kafka", "line", line, "not_shown", dropped)
}

func (l *logger) collectErrors() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.collecting = true
}

func (l *logger) errors() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}
