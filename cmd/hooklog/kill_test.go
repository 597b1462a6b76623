package main_test

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// moments are when a relay ends, in turns. Which moment exactly is drawn.
var moments = []func(t *testing.T, r *relay){
	func(t *testing.T, r *relay) { // in the middle of things
		r.inTheMiddle(t)
		r.kill(t)
	},
	func(t *testing.T, r *relay) { // while it starts
		r.soon(200 * time.Millisecond)
		r.kill(t)
	},
	func(t *testing.T, r *relay) { // the index is disposable, at any time
		r.inTheMiddle(t)
		r.kill(t)
		r.removeIndex(t)
	},
	func(t *testing.T, r *relay) { // while the index that was lost is read back
		r.soon(400 * time.Millisecond)
		r.kill(t)
	},
	func(t *testing.T, r *relay) { // right after the first events
		r.acceptSome(t, 3)
		r.kill(t)
	},
	func(t *testing.T, r *relay) { // in order
		r.inTheMiddle(t)
		if code := r.p.terminate(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code after SIGTERM: got %d, want 0\n%s", code, r.p.stderr.String())
		}
		r.orderly++
	},
}

// endure starts and ends the relay in all those moments, n times and as long as
// more says so, and leaves one running.
func (r *relay) endure(t *testing.T, n int, moments []func(*testing.T, *relay), more func() bool) {
	t.Helper()
	for i := 0; i < n || more(); i++ {
		before := r.sender.accepted.Load()
		r.start(t)
		moments[i%len(moments)](t, r)
		if r.sender.accepted.Load() == before {
			r.early++
		}
		if t.Failed() {
			return
		}
	}
	r.start(t)
	r.p.ready(t, r.admin)
}

// TestKillNine kills hooklog under load again and again. What was acknowledged
// is in the topic once.
func TestKillNine(t *testing.T) {
	rounds := 3 * len(moments)
	if testing.Short() {
		rounds = len(moments)
	}
	kafkas(t, func(t *testing.T, k cluster) {
		r, until := newRelay(t, k), soakUntil(t)
		stop := r.load(t, 16)
		r.endure(t, rounds, moments, func() bool { return time.Now().Before(until) })
		stop()
		r.check(t)
	})
}

// TestTerminate ends hooklog in order under load: everything that was
// acknowledged is in the topic, and it exits 0 in time.
func TestTerminate(t *testing.T) {
	kafkas(t, func(t *testing.T, k cluster) {
		r := newRelay(t, k)
		r.start(t)
		r.p.ready(t, r.admin)
		ctx, stop := context.WithCancel(context.Background())
		sending := make(chan struct{})
		go func() {
			defer close(sending)
			r.sender.run(ctx, ctx, 16)
		}()
		r.acceptSome(t, 500)
		start := time.Now()
		if code := r.p.terminate(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code after SIGTERM: got %d, want 0\n%s", code, r.p.stderr.String())
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("shutdown took %v, want at most 15 s", took)
		}
		stop()
		<-sending
		// The log is read through a second start: with the embedded broker it
		// ended too.
		r.start(t)
		r.p.ready(t, r.admin)
		r.check(t)
	})
}
