// Package consumerstest helps to test handlers without a broker: it makes
// events, and delivers them as a group would, without its waits.
package consumerstest

import (
	"context"
	"time"

	"hooklog/consumers"
	"hooklog/schemas"
)

// Event returns a valid event of that type with a JSON body, as a group passes
// it: from the source "demo", received now, with an ID that is the hash of the
// body. Change what the test is about.
func Event(typ schemas.EventType, body string) schemas.Event {
	now := time.Now()
	return schemas.Event{
		ID: schemas.BodyID([]byte(body)), Source: "demo", Type: typ, Time: now, Received: now,
		ContentType: "application/json", Scheme: "standard", Method: "POST", Target: "/hooks/demo",
		Body: []byte(body), Position: schemas.Position{Topic: "webhooks"},
	}
}

// Delivery is how the delivery of an event to a handler ended.
type Delivery struct {
	// Outcome is Handled or DeadLettered.
	Outcome consumers.Outcome
	// Attempts is how often the handler ran.
	Attempts int
	// Waits are how long a group would have waited between the attempts.
	Waits []time.Duration
	// Class and Err are of the last attempt; empty and nil if it was handled.
	Class consumers.ErrorClass
	Err   error
}

// Deliver delivers an event until it has its outcome, by the policy and the
// timeout of an attempt (zero values as in consumers.Options). It does not
// wait between attempts, and a panic is an error. To see that a handler is
// idempotent, deliver the event twice.
func Deliver(ctx context.Context, h consumers.Handler, ev schemas.Event, retry consumers.Retry, timeout time.Duration) Delivery {
	if retry.Attempts == 0 {
		retry.Attempts = consumers.DefaultAttempts
	}
	if timeout == 0 {
		timeout = consumers.DefaultTimeout
	}
	var d Delivery
	for {
		d.Attempts++
		d.Class, d.Err = consumers.Attempt(ctx, h, ev, timeout)
		switch {
		case d.Err == nil:
			d.Outcome = consumers.Handled
			return d
		case d.Class == consumers.ClassPermanent || d.Attempts >= retry.Attempts:
			d.Outcome = consumers.DeadLettered
			return d
		}
		d.Waits = append(d.Waits, retry.Wait(d.Attempts, d.Err))
	}
}
