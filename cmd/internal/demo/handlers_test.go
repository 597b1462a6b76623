package demo_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hooklog/cmd/internal/demo"
	"hooklog/schemas"
)

// TestHandlersDo pins what each handler writes for one event.
func TestHandlersDo(t *testing.T) {
	bodies := map[string]string{
		demo.PaymentSucceeded: `{"type":"payment.succeeded","data":{"order_id":"ord_7","amount":4180,"currency":"EUR",
			"customer":{"name":"Ada Lovelace"},"items":[{"sku":"CF-1000","name":"Coffee <1 kg>","quantity":2}],
			"shipping_address":{"street":"1 Main Street","postal_code":"10115","city":"Berlin","country":"DE"}}}`,
		demo.PaymentFailed: `{"type":"payment.failed","data":{"order_id":"ord_7","amount":1205,"currency":"USD",
			"customer":{"name":"Ada Lovelace","email":"ada@example.com"},"failure":{"message":"the card was declined"}}}`,
		demo.CustomerCreated:       `{"type":"customer.created","data":{"plan":"team","customer":{"id":"cus_1","name":"Ada Lovelace","email":"ada@example.com"}}}`,
		demo.SubscriptionCancelled: `{"type":"subscription.cancelled","data":{"subscription_id":"sub_1","plan":"team","ends_at":"2026-02-05T08:00:00Z","seats":["ada@example.com"],"customer":{"id":"cus_1"}}}`,
	}
	want := map[string]string{
		demo.PaymentSucceeded:      `{"order":"ord_7","total":"EUR 41.80","ship":["2 x Coffee <1 kg> (CF-1000)"],"to":"Ada Lovelace, 1 Main Street, 10115 Berlin, DE","source":"demo","event":"msg_1"}`,
		demo.PaymentFailed:         `{"to":"ada@example.com","subject":"Your payment of USD 12.05 did not go through","text":"Dear Ada Lovelace, we could not charge USD 12.05 for order ord_7: the card was declined.","source":"demo","event":"msg_1"}`,
		demo.CustomerCreated:       `{"to":"ada@example.com","subject":"Welcome, Ada Lovelace","text":"Dear Ada Lovelace, your plan \"team\" is ready. Your customer number is cus_1.","source":"demo","event":"msg_1"}`,
		demo.SubscriptionCancelled: `{"revoke":"cus_1","subscription":"sub_1","plan":"team","from":"2026-02-05T08:00:00Z","users":["ada@example.com"],"source":"demo","event":"msg_1"}`,
	}
	for _, o := range opened {
		t.Run(o.name, func(t *testing.T) {
			data := t.TempDir()
			h := open(t, o.name, data)
			ev := schemas.Event{ID: "msg_1", Source: "demo", Type: schemas.EventType(o.eventType), Body: []byte(bodies[o.eventType])}
			handle(t, h, ev)
			if diff := cmp.Diff([]string{want[o.eventType]}, lines(t, data, o.file)); diff != "" {
				t.Errorf("%s of\n%s\n(-want +got):\n%s", o.file, ev.Body, diff)
			}
		})
	}
}

// TestHandlersOnce sends every event several times, to handlers that are
// opened again in between.
func TestHandlersOnce(t *testing.T) {
	for _, o := range opened {
		t.Run(o.name, func(t *testing.T) {
			data := t.TempDir()
			g := demo.NewGenerator(1)
			var events []schemas.Event
			for range 5 {
				events = append(events, received(g.NextOf(o.eventType)))
			}
			other := events[0]
			other.Source = "other" // The same ID of another source is another event.
			events = append(events, other)
			for round := range 3 {
				h := open(t, o.name, data)
				for range 2 {
					for _, ev := range events[:2*(round+1)] {
						handle(t, h, ev)
					}
				}
				if err := closeHandler(h); err != nil {
					t.Fatal(err)
				}
			}
			if got := lines(t, data, o.file); len(got) != len(events) {
				t.Errorf("%d events, each sent several times: got %d lines, want one each:\n%q", len(events), len(got), got)
			}
		})
	}
}

// TestHandlersConcurrent handles the same events from many goroutines.
func TestHandlersConcurrent(t *testing.T) {
	data := t.TempDir()
	h := open(t, "demo.fulfil_order", data)
	const workers, each = 8, 40
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			g := demo.NewGenerator(2)
			for range each {
				if err := h.Handle(context.Background(), received(g.NextOf(demo.PaymentSucceeded))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(lines(t, data, "orders.jsonl")); got != each {
		t.Errorf("%d goroutines handled the same %d events: got %d lines, want %d", workers, each, got, each)
	}
}

// TestHandlersRefuse checks that events which no attempt will mend say so.
func TestHandlersRefuse(t *testing.T) {
	for _, o := range opened {
		for _, body := range []string{"", "no json", "{}", `{"data":null}`, `{"data":[]}`, `{"data":{"customer":{}}}`} {
			data := t.TempDir()
			h := open(t, o.name, data)
			ev := schemas.Event{ID: "msg_1", Source: "demo", Type: schemas.EventType(o.eventType), Body: []byte(body)}
			if err := h.Handle(context.Background(), ev); !permanent(err) {
				t.Errorf("%s of %q: got %v, want a permanent error", o.name, body, err)
			}
			if got := lines(t, data, o.file); got[0] != "" {
				t.Errorf("%s of %q: got line %q, want none", o.name, body, got[0])
			}
		}
	}
}

// TestJournalTail opens journals as a crash may leave them.
func TestJournalTail(t *testing.T) {
	const whole = `{"order":"ord_1","source":"demo","event":"msg_1"}` + "\n"
	for _, tail := range []string{"", "{", `{"order":"ord_2","source":"demo","event":"msg_2"}`, "\x00\x00\x00"} {
		data := t.TempDir()
		path := filepath.Join(data, "demo", "orders.jsonl")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(whole+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		h := open(t, "demo.fulfil_order", data)
		for _, id := range []schemas.EventID{"msg_1", "msg_2"} {
			handle(t, h, schemas.Event{ID: id, Source: "demo", Body: []byte(`{"data":{"order_id":"ord_2","currency":"EUR"}}`)})
		}
		want := []string{whole[:len(whole)-1], `{"order":"ord_2","total":"EUR 0.00","ship":[],"to":"","source":"demo","event":"msg_2"}`}
		if diff := cmp.Diff(want, lines(t, data, "orders.jsonl")); diff != "" {
			t.Errorf("a file that ended in %q (-want +got):\n%s", tail, diff)
		}
	}
}

// TestJournalDamaged refuses to guess: a broken line that is not the last one
// was not left by a crash.
func TestJournalDamaged(t *testing.T) {
	for _, text := range []string{"{\n", "\n", "{}\n", `{"source":"demo","event":"a"}` + "\n[]\n" + `{"source":"demo","event":"b"}` + "\n"} {
		data := t.TempDir()
		path := filepath.Join(data, "demo", "access.jsonl")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if h, err := demo.Handlers()["demo.revoke_access"](data); err == nil {
			closeHandler(h)
			t.Errorf("open a journal with %q: got no error, want one", text)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("the refused journal holds %q, %v; want it untouched: %q", got, err, text)
		}
	}
}
