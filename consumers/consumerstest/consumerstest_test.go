package consumerstest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/consumers"
	"hooklog/consumers/consumerstest"
	"hooklog/schemas"
)

func TestEventIsValid(t *testing.T) {
	ev := consumerstest.Event("payment.failed", `{"a":1}`)
	r := schemas.Encode(&ev, "webhooks")
	back, err := schemas.Decode(&kgo.Record{Topic: "webhooks", Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp})
	if err != nil || back.ID != ev.ID || string(back.Body) != `{"a":1}` || back.Type != "payment.failed" {
		t.Errorf("decoded as %+v, %v", back, err)
	}
}

func TestDeliver(t *testing.T) {
	busy := errors.New("busy")
	for _, c := range []struct {
		name   string
		handle func(n int) error
		want   string
	}{
		{"at once", func(int) error { return nil }, "handled 1 0 "},
		{"later", func(n int) error {
			if n < 3 {
				return consumers.RetryAfter(busy, 10*time.Minute)
			}
			return nil
		}, "handled 3 2 "},
		{"never", func(int) error { return busy }, "dead_lettered 5 4 error"},
		{"permanent", func(int) error { return consumers.Permanent(busy) }, "dead_lettered 1 0 permanent"},
		{"panic", func(int) error { panic("oh") }, "dead_lettered 5 4 panic"},
	} {
		n := 0
		h := consumers.HandlerFunc(func(context.Context, schemas.Event) error { n++; return c.handle(n) })
		d := consumerstest.Deliver(t.Context(), h, consumerstest.Event("x", "{}"), consumers.Retry{}, 0)
		if got := fmt.Sprint(d.Outcome, " ", d.Attempts, " ", len(d.Waits), " ", d.Class); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if c.name == "later" && d.Waits[0] != 10*time.Minute {
			t.Errorf("waits are %v, want what the handler asks for", d.Waits)
		}
	}
}

func TestDeliverTimesOut(t *testing.T) {
	h := consumers.HandlerFunc(func(ctx context.Context, _ schemas.Event) error {
		<-ctx.Done()
		return ctx.Err()
	})
	d := consumerstest.Deliver(t.Context(), h, consumerstest.Event("x", "{}"), consumers.Retry{Attempts: 1}, time.Millisecond)
	if d.Class != consumers.ClassTimeout || !errors.Is(d.Err, context.DeadlineExceeded) {
		t.Errorf("got %+v, want a timeout", d)
	}
}

func ExampleDeliver() {
	welcome := consumers.JSON(func(_ context.Context, ev schemas.Event, customer struct{ Email string }) error {
		if customer.Email == "" {
			return consumers.Permanent(errors.New("no address"))
		}
		return nil
	})
	for _, body := range []string{`{"email":"a@example.com"}`, `{}`, `not json`} {
		d := consumerstest.Deliver(context.Background(), welcome, consumerstest.Event("customer.created", body), consumers.Retry{}, 0)
		fmt.Println(d.Outcome, d.Err != nil)
	}
	// Output:
	// handled false
	// dead_lettered true
	// dead_lettered true
}
