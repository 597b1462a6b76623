// Package demo is what "hooklog dev" shows: a source whose secret is public, a
// generator of realistic events, and four handlers for them, written against
// package consumers as a user's would be.
//
// Each handler keeps a file of JSON lines under <data>/demo, one line for each
// thing it did, for people to read. Groups deliver at least once; the handlers
// make of it exactly once: they do nothing for an event, known by its source
// and ID, that is in their file already, also after a restart or a kill, and
// report an event as done only after its line is on disk. They remember every
// event they did, 50 bytes or so each: enough for a demo, not for a product.
package demo

import (
	"errors"
	"fmt"
	"path/filepath"

	"hooklog/consumers"
)

// Secret is the secret of the demo source, in the form of Standard Webhooks.
// It is public: whoever has read this can sign with it.
const Secret = "whsec_aG9va2xvZy1kZW1vLXNlY3JldC1pcy1wdWJsaWMtMDE="

// Handlers returns the handlers by the names that a configuration uses. Each
// is made by a function that takes the data folder, and is an io.Closer.
func Handlers() map[string]func(data string) (consumers.Handler, error) {
	return map[string]func(data string) (consumers.Handler, error){
		"demo.fulfil_order":       under(OpenOrderBook),
		"demo.notify_customer":    under(OpenNotices),
		"demo.send_welcome_email": under(OpenWelcomes),
		"demo.revoke_access":      under(OpenAccessList),
	}
}

func under[H consumers.Handler](open func(dir string) (H, error)) func(string) (consumers.Handler, error) {
	return func(data string) (consumers.Handler, error) {
		h, err := open(filepath.Join(data, "demo"))
		if err != nil {
			return nil, err // Not h: a nil pointer in an interface is not nil.
		}
		return h, nil
	}
}

// payload is the shape that Standard Webhooks recommends for a body.
type payload[T any] struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      T      `json:"data"`
}

// errIncomplete is for events that lack what a handler needs: no other attempt
// will mend them, so they are dead-lettered at once.
var errIncomplete = errors.New("the event does not have what the handler needs")

func incomplete(what string) error {
	return consumers.Permanent(fmt.Errorf("%w: %s is missing", errIncomplete, what))
}

// customer is whom an event is about.
type customer struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Locale  string `json:"locale,omitempty"`
	Created string `json:"created_at,omitempty"`
}

// amount writes cents for people, such as "EUR 41.80".
func amount(currency string, cents int64) string {
	return fmt.Sprintf("%s %d.%02d", currency, cents/100, cents%100)
}
