package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// throttle passes on each warning at most every so often, and says how many it
// held back: a sender's mistake must not fill the disk.
type throttle struct {
	log   *slog.Logger
	every time.Duration

	mu   sync.Mutex
	seen map[string]*repeats // by message, which is constant text
}

type repeats struct {
	last time.Time
	held int
}

func newThrottle(log *slog.Logger, every time.Duration) *throttle {
	return &throttle{log: log, every: every, seen: make(map[string]*repeats)}
}

// Warn logs the message, unless it has been logged a short while ago.
func (t *throttle) Warn(msg string, args ...any) {
	now := time.Now()
	t.mu.Lock()
	r := t.seen[msg]
	if r == nil {
		r = &repeats{}
		t.seen[msg] = r
	}
	if now.Sub(r.last) < t.every {
		r.held++
		t.mu.Unlock()
		return
	}
	held := r.held
	r.last, r.held = now, 0
	t.mu.Unlock()
	if held > 0 {
		args = append(args, "held_back", held)
	}
	t.log.Log(context.Background(), slog.LevelWarn, msg, args...)
}
