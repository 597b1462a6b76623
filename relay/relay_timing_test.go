package relay_test

import (
	"bufio"
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"hooklog/relay"
)

const otherSecret = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Rz"

// reader makes requests of raw bytes, as a server does, again and again.
type reader struct {
	ctx fasthttp.RequestCtx
	src bytes.Reader
	br  *bufio.Reader
}

func newReader() *reader {
	r := &reader{br: bufio.NewReaderSize(nil, 4<<10)}
	r.ctx.Init(new(fasthttp.Request), nil, nil)
	return r
}

// read is what a benchmark does besides what it measures.
func (r *reader) read(t testing.TB, raw []byte) *fasthttp.RequestCtx {
	r.src.Reset(raw)
	r.br.Reset(&r.src)
	r.ctx.Response.Reset()
	r.ctx.Request.Header.DisableNormalizing()
	if err := r.ctx.Request.ReadLimitBody(r.br, 0); err != nil {
		t.Fatal(err)
	}
	return &r.ctx
}

// BenchmarkHandle is the relay's share of a request. "reading" is what
// fasthttp's reading adds to each of the others; "new" has kfake's share and
// the producer's too, with 64 requests at a time.
func BenchmarkHandle(b *testing.B) {
	now := time.Now()
	known := requestAt(b, demoSource(b), now, "msg_known", bodyOf(1))
	forged := requestAt(b, presetSource(b, "standard-webhooks", "demo", otherSecret), now, "msg_known", bodyOf(1))
	b.Run("reading", func(b *testing.B) {
		r := newReader()
		b.ReportAllocs()
		for b.Loop() {
			r.read(b, known)
		}
	})
	relays := func(b *testing.B) *testRelay {
		r := start(b, startKafka(b), func(o *relay.Options) { o.Logger = nil })
		if a := r.ask(b, known); a.status != 200 {
			b.Fatal(a)
		}
		r.checkSettled(b)
		return r
	}
	one := func(name string, raw []byte, want int) {
		b.Run(name, func(b *testing.B) {
			relay, r := relays(b), newReader()
			b.ReportAllocs()
			for b.Loop() {
				ctx := r.read(b, raw)
				relay.Handle(ctx)
				relay.sent.Add(1)
				if got := ctx.Response.StatusCode(); got != want {
					b.Fatalf("status %d, want %d", got, want)
				}
			}
		})
	}
	one("duplicate", known, 200)
	one("bad signature", forged, 401)
	b.Run("new", func(b *testing.B) {
		relay := relays(b)
		src := demoSource(b)
		raws := make([][]byte, b.N)
		for i := range raws {
			raws[i] = requestAt(b, src, now, fmt.Sprint("msg_", i), bodyOf(1))
		}
		var next atomic.Int64
		b.ReportAllocs()
		b.SetParallelism(32)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			r := newReader()
			for pb.Next() {
				ctx := r.read(b, raws[next.Add(1)-1])
				relay.Handle(ctx)
				relay.sent.Add(1)
				if got := ctx.Response.StatusCode(); got != 200 {
					b.Errorf("status %d, want 200", got)
				}
			}
		})
	})
}

// TestAllocations bounds what a request costs that writes nothing: a sender
// chooses how many of these come.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools allocate")
	}
	now := time.Now()
	known := requestAt(t, demoSource(t), now, "msg_known", bodyOf(1))
	forged := requestAt(t, presetSource(t, "standard-webhooks", "demo", otherSecret), now, "msg_known", bodyOf(1))
	r := start(t, startKafka(t), nil)
	if a := r.ask(t, known); a.status != 200 {
		t.Fatal(a)
	}
	r.checkSettled(t)
	for name, c := range map[string]struct {
		raw  []byte
		most float64
	}{
		"duplicate":     {known, 6},
		"bad signature": {forged, 8},
	} {
		from := newReader()
		got := testing.AllocsPerRun(200, func() {
			r.Handle(from.read(t, c.raw))
			r.sent.Add(1)
		})
		if got > c.most {
			t.Errorf("a %s allocates %v times, want at most %v", name, got, c.most)
		}
	}
}
