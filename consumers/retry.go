package consumers

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Wait returns how long to wait after the n-th failed attempt (from 1): twice
// as long each time, from Min to Max, of which a random part up to a half is
// dropped so that what failed together does not come back together; and not
// less than the error asks for.
func (r Retry) Wait(n int, err error) time.Duration { return r.wait(n, err, rand.Float64()) }

// wait is Wait with a given roll in [0, 1).
func (r Retry) wait(n int, err error, roll float64) time.Duration {
	r = r.withDefaults()
	d := r.Max
	if shift := n - 1; shift < 32 && r.Min<<shift < r.Max && r.Min<<shift > 0 {
		d = r.Min << shift
	}
	d -= time.Duration(roll * float64(d/2))
	var asks interface{ RetryAfter() time.Duration }
	if errors.As(err, &asks) {
		d = max(d, min(asks.RetryAfter(), maxRetryAfter))
	}
	return d
}

// pause waits for d or until stop; it reports whether the time is over.
func pause(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}
