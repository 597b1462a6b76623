package schemas_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/schemas"
)

func TestSpooled(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 123456789, time.UTC)
	for name, r := range map[string]*kgo.Record{
		"an event": schemas.Encode(&schemas.Event{
			ID: "evt_1", Source: "demo", Type: "test.made", Received: now, Scheme: "none", Method: "POST", Target: "/hooks/demo",
			Body: []byte("\x00\xff{}\r\n"), Headers: []schemas.Header{{Name: "X-A", Value: []byte("1")}, {Name: "x-a", Value: nil}},
		}, "webhooks"),
		"an empty body": schemas.Encode(&schemas.Event{ID: "evt_1", Source: "demo", Received: now}, "webhooks"),
		"no headers":    {Topic: "t", Key: []byte("k"), Value: []byte{}, Timestamp: now},
	} {
		b := schemas.AppendSpooled(nil, r)
		got, err := schemas.ParseSpooled(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(r, got, cmpopts.IgnoreFields(kgo.Record{}, "Attrs", "Context"), cmpopts.IgnoreUnexported(kgo.Record{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for i := range b {
			if _, err := schemas.ParseSpooled(b[:i]); !errors.Is(err, schemas.ErrNotSpooled) {
				t.Errorf("%s: the first %d of %d bytes: %v, want ErrNotSpooled", name, i, len(b), err)
			}
		}
		if _, err := schemas.ParseSpooled(append(b, 0)); !errors.Is(err, schemas.ErrNotSpooled) {
			t.Errorf("%s: one byte more: %v, want ErrNotSpooled", name, err)
		}
	}
}

func FuzzParseSpooled(f *testing.F) {
	f.Add([]byte{})
	f.Add(schemas.AppendSpooled(nil, &kgo.Record{Topic: "t", Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("b")}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := schemas.ParseSpooled(b)
		if err != nil {
			return
		}
		again, err := schemas.ParseSpooled(schemas.AppendSpooled(nil, r))
		if err != nil {
			t.Fatalf("what was parsed does not parse again: %v", err)
		}
		if diff := cmp.Diff(r, again, cmpopts.IgnoreFields(kgo.Record{}, "Attrs", "Context"), cmpopts.IgnoreUnexported(kgo.Record{})); diff != "" {
			t.Errorf("record (-first +again):\n%s", diff)
		}
	})
}
