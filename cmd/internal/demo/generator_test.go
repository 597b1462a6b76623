package demo_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hooklog/cmd/internal/demo"
	"hooklog/relay/preset"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

// TestGeneratorPinned keeps seeds meaning the same events on every machine.
func TestGeneratorPinned(t *testing.T) {
	h := sha256.New()
	g := demo.NewGenerator(42)
	for range 1000 {
		ev := g.Next()
		h.Write([]byte(ev.ID + ev.Type + ev.Time.Format(time.RFC3339Nano)))
		h.Write(ev.Body)
	}
	const want = "2ac7dfca2fae60b604859cc9e28260fb315b35549f81d8a5c75442fab3f57087"
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("1000 events of seed 42: got hash %s, want %s: recorded seeds no longer mean the same events", got, want)
	}
	if a, b := demo.NewGenerator(1).Next(), demo.NewGenerator(2).Next(); a.ID == b.ID {
		t.Errorf("seeds 1 and 2 both start with %s, want different events", a.ID)
	}
}

// TestGeneratorEvents checks 2000 events: their shape, their size, their mix.
func TestGeneratorEvents(t *testing.T) {
	g := demo.NewGenerator(7)
	p, _ := preset.Lookup("standard-webhooks")
	none := func(string) []byte { return nil }
	seen, byType := map[string]bool{}, map[string]int{}
	total, last := 0, time.Time{}
	for range 2000 {
		ev := g.Next()
		if seen[ev.ID] {
			t.Fatalf("event ID %s occurs twice", ev.ID)
		}
		seen[ev.ID] = true
		byType[ev.Type]++
		total += len(ev.Body)
		if len(ev.Body) < 400 || len(ev.Body) > 2048 {
			t.Errorf("%s has %d bytes, want 400 to 2048:\n%s", ev.Type, len(ev.Body), ev.Body)
		}
		if !ev.Time.After(last) {
			t.Errorf("event at %v after one at %v", ev.Time, last)
		}
		last = ev.Time
		if typ, _ := p.Type.Extract(none, ev.Body); typ != ev.Type {
			t.Errorf("type in the body: got %q, want %q\n%s", typ, ev.Type, ev.Body)
		}
		text, _ := p.Time.Extract(none, ev.Body)
		if at, ok := schemas.ParseTime(text); !ok || !at.Equal(ev.Time) {
			t.Errorf("time in the body: got %q, want %v", text, ev.Time)
		}
		var body struct{ Data map[string]any }
		if err := json.Unmarshal(ev.Body, &body); err != nil || len(body.Data) == 0 {
			t.Errorf("body %s: got %v and data %v, want an object with data", ev.Body, err, body.Data)
		}
	}
	for _, typ := range demo.Types() {
		if !demo.HasType(typ) || byType[typ] < 100 {
			t.Errorf("%s: %d of 2000 events, want 100 or more", typ, byType[typ])
		}
	}
	if mean := total / 2000; mean < 500 || mean > 1500 {
		t.Errorf("bodies have %d bytes on average, want 500 to 1500", mean)
	}
}

func TestGeneratorSize(t *testing.T) {
	for _, size := range []int{0, 1, 4096, 70_000} {
		g := demo.NewGenerator(9)
		g.Size = size
		for range 50 {
			ev := g.Next()
			if size > 2048 && len(ev.Body) != size || !json.Valid(ev.Body) {
				t.Errorf("size %d: got %d bytes of %s, valid %v", size, len(ev.Body), ev.Type, json.Valid(ev.Body))
			}
		}
	}
}

// TestSecret checks that the demo's secret is one of 32 bytes that the preset
// takes.
func TestSecret(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(demo.Secret, "whsec_"))
	if err != nil || len(raw) != 32 {
		t.Errorf("secret %s: got %d bytes, %v; want 32", demo.Secret, len(raw), err)
	}
	p, ok := preset.Lookup("standard-webhooks")
	if !ok {
		t.Fatal("no preset standard-webhooks")
	}
	if _, err := signature.New(p.Scheme, []signature.Secret{{Value: signature.NewSecretValue(demo.Secret)}}, 0); err != nil {
		t.Errorf("the demo's secret makes no verifier: %v", err)
	}
}

// TestHandlersAll hands every made-up event to its handler.
func TestHandlersAll(t *testing.T) {
	data := t.TempDir()
	for _, o := range opened {
		h := open(t, o.name, data)
		g := demo.NewGenerator(5)
		for range 25 {
			ev := g.NextOf(o.eventType)
			handle(t, h, received(ev))
		}
		if got := len(lines(t, data, o.file)); got != 25 {
			t.Errorf("%s: got %d lines, want 25", o.file, got)
		}
	}
	if len(demo.Handlers()) != len(opened) {
		t.Errorf("there are %d handlers, %d are tested", len(demo.Handlers()), len(opened))
	}
}

func BenchmarkGenerator(b *testing.B) {
	g := demo.NewGenerator(1)
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(g.Next().Body)))
	}
}
