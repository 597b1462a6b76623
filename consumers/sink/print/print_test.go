package print_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hooklog/consumers"
	"hooklog/consumers/sink/print"
	"hooklog/schemas"
)

func event() schemas.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))
	return schemas.Event{
		ID: "evt_1", Source: "stripe", Type: "payment.succeeded", Time: at, Received: at, Scheme: "stripe", Method: "POST", Target: "/hooks/stripe",
		Body: []byte("{\"a\": 1}\r\n"), Position: schemas.Position{Topic: "webhooks", Partition: 3, Offset: 42},
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		format print.Format
		change func(*schemas.Event)
		want   string
	}{
		{"", nil, "2026-01-02T02:04:05.678Z  stripe  payment.succeeded  evt_1  webhooks/3@42  10 B\n"},
		{print.Pretty, func(e *schemas.Event) { e.Body = make([]byte, 1536) }, "2026-01-02T02:04:05.678Z  stripe  payment.succeeded  evt_1  webhooks/3@42  1.5 KiB\n"},
		{print.Pretty, func(e *schemas.Event) { e.Body = make([]byte, 3<<19) }, "2026-01-02T02:04:05.678Z  stripe  payment.succeeded  evt_1  webhooks/3@42  1.5 MiB\n"},
		// A terminal must not be moved, nor a line be forged, by an ID.
		{print.Pretty, func(e *schemas.Event) { e.ID, e.Type = "a\x1b[2J\nb", "\u009b\xff" }, `2026-01-02T02:04:05.678Z  stripe  "\u009b\xff"  "a\x1b[2J\nb"  webhooks/3@42  10 B` + "\n"},
		{print.Body, nil, "{\"a\": 1}\r\n"},
		{print.Body, func(e *schemas.Event) { e.Body = []byte{} }, ""},
	} {
		e := event()
		if c.change != nil {
			c.change(&e)
		}
		got, err := c.format.Append([]byte("before "), &e)
		if err != nil || string(got) != "before "+c.want {
			t.Errorf("format %q: %q, %v, want %q", c.format, got, err, c.want)
		}
	}
	e := event()
	got, err := print.JSON.Append(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(got, &v); err != nil || v["id"] != "evt_1" || strings.Count(string(got), "\n") != 1 || got[len(got)-1] != '\n' {
		t.Errorf("JSON is %q, want a line of an object", got)
	}
	if _, err := print.Format("xml").Append(nil, &e); err == nil {
		t.Error("format xml is taken")
	}
}

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]print.Format{"": print.Pretty, "pretty": print.Pretty, "json": print.JSON, "body": print.Body} {
		if got, err := print.ParseFormat(name); got != want || err != nil {
			t.Errorf("ParseFormat(%q) = %q, %v", name, got, err)
		}
	}
	if _, err := print.ParseFormat("yaml"); err == nil || !strings.Contains(err.Error(), "pretty, json, body") {
		t.Errorf("ParseFormat(yaml) = %v, want the choice", err)
	}
}

// lines is a writer that is not safe for concurrent use, and minds that each
// event is one Write.
type lines struct{ got []string }

func (l *lines) Write(b []byte) (int, error) {
	l.got = append(l.got, string(b))
	return len(b), nil
}

func TestOneWritePerEvent(t *testing.T) {
	var w lines
	s := print.New(&w, print.Pretty)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			e := event()
			e.ID = schemas.EventID(fmt.Sprint("evt_", i))
			if err := s.Handle(context.Background(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(w.got) != 50 {
		t.Fatalf("%d writes, want 50", len(w.got))
	}
	for _, line := range w.got {
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Errorf("a write is %q, want one line", line)
		}
	}
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestErrors(t *testing.T) {
	var after interface{ RetryAfter() time.Duration }
	if err := print.New(full{}, print.JSON).Handle(context.Background(), event()); !errors.Is(err, errFull) || !errors.As(err, &after) {
		t.Errorf("a failed write returns %v, want it retried", err)
	}
	var permanent interface{ Permanent() bool }
	if err := print.New(full{}, "xml").Handle(context.Background(), event()); !errors.As(err, &permanent) {
		t.Errorf("an unknown format returns %v, want a permanent error", err)
	}
}

var _ consumers.Handler = (*print.Sink)(nil)
