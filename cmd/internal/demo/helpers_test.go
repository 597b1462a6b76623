package demo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooklog/cmd/internal/demo"
	"hooklog/consumers"
	"hooklog/schemas"
)

// opened are the handlers and their files.
var opened = []struct {
	name, eventType, file string
}{
	{"demo.fulfil_order", demo.PaymentSucceeded, "orders.jsonl"},
	{"demo.notify_customer", demo.PaymentFailed, "notices.jsonl"},
	{"demo.send_welcome_email", demo.CustomerCreated, "welcomes.jsonl"},
	{"demo.revoke_access", demo.SubscriptionCancelled, "access.jsonl"},
}

// open makes a handler by its name and closes it with the test.
func open(t *testing.T, name, data string) consumers.Handler {
	t.Helper()
	h, err := demo.Handlers()[name](data)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	t.Cleanup(func() { closeHandler(h) })
	return h
}

func closeHandler(h consumers.Handler) error { return h.(interface{ Close() error }).Close() }

func handle(t *testing.T, h consumers.Handler, ev schemas.Event) {
	t.Helper()
	if err := h.Handle(context.Background(), ev); err != nil {
		t.Fatalf("handle %s %s\n%s\ngot %v, want no error", ev.Type, ev.ID, ev.Body, err)
	}
}

func received(ev demo.Event) schemas.Event {
	return schemas.Event{ID: schemas.EventID(ev.ID), Source: "demo", Type: schemas.EventType(ev.Type), Time: ev.Time, Received: ev.Time, Body: ev.Body}
}

func lines(t *testing.T, data, file string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, "demo", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
