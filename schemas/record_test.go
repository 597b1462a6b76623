package schemas_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"hooklog/schemas"
)

func exampleEvent() *schemas.Event {
	return &schemas.Event{
		ID:          "evt_1NG8Du2eZvKYlo2CUI79vXWy",
		Source:      "stripe",
		Type:        "payment_intent.succeeded",
		Time:        time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Received:    time.Date(2026, 3, 1, 13, 0, 0, 123456789, time.FixedZone("", 3600)),
		ContentType: "application/json; charset=utf-8",
		Scheme:      "stripe-v1",
		SecretID:    "k1a2b3",
		Method:      "POST",
		Target:      "/hooks/stripe?token=REDACTED",
		URL:         "https://hooks.example.com/hooks/stripe",
		Headers: []schemas.Header{
			{Name: "host", Value: []byte("hooks.example.com")},
			{Name: "x-trace", Value: []byte("one")},
			{Name: "content-type", Value: []byte("application/json; charset=utf-8")},
			{Name: "x-trace", Value: []byte("two")},
			{Name: "x-empty"},
		},
		Body: []byte("{\"id\": \"evt_1NG8Du2eZvKYlo2CUI79vXWy\"}\r\n"),
	}
}

// Other people's tools read these records: their form is a promise.
func TestRecordGolden(t *testing.T) {
	r := schemas.Encode(exampleEvent(), "webhooks")
	var b strings.Builder
	fmt.Fprintf(&b, "topic %q\nkey %q\nvalue %q\ntimestamp %s\n", r.Topic, r.Key, r.Value, r.Timestamp.UTC().Format(time.RFC3339Nano))
	for _, h := range r.Headers {
		null := ""
		if h.Value == nil {
			null = " (null)"
		}
		fmt.Fprintf(&b, "%s: %s%s\n", h.Key, h.Value, null)
	}
	want := `topic "webhooks"
key "evt_1NG8Du2eZvKYlo2CUI79vXWy"
value "{\"id\": \"evt_1NG8Du2eZvKYlo2CUI79vXWy\"}\r\n"
timestamp 2026-03-01T12:00:00.123456789Z
ce_specversion: 1.0
ce_id: evt_1NG8Du2eZvKYlo2CUI79vXWy
ce_source: stripe
ce_type: payment_intent.succeeded
ce_time: 2026-03-01T12:00:00Z
ce_receivedtime: 2026-03-01T12:00:00.123456789Z
ce_scheme: stripe-v1
ce_secretid: k1a2b3
content-type: application/json; charset=utf-8
hooklog_request_method: POST
hooklog_request_target: /hooks/stripe?token=REDACTED
hooklog_request_url: https://hooks.example.com/hooks/stripe
http_host: hooks.example.com
http_x-trace: one
http_content-type: application/json; charset=utf-8
http_x-trace: two
http_x-empty: ` + "\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("record of the example event (-want +got):\n%s", diff)
	}
}

func TestEncodeLeavesOutWhatIsNotThere(t *testing.T) {
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := schemas.Encode(&schemas.Event{ID: "1", Source: "s", Type: "t", Received: received, Scheme: schemas.SchemeNone, Method: "POST", Target: "/hooks/s"}, "t")
	var names []string
	for _, h := range r.Headers {
		names = append(names, h.Key)
		if h.Key == "ce_time" && string(h.Value) != "2026-03-01T12:00:00Z" {
			t.Errorf("ce_time without a time = %q, want the receive time", h.Value)
		}
	}
	want := []string{
		"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_receivedtime", "ce_scheme",
		"hooklog_request_method", "hooklog_request_target",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("header names (-want +got):\n%s", diff)
	}
	if r.Value == nil {
		t.Error("the value of an empty body is nil, which Kafka takes for a tombstone")
	}
}

// Appending to one value must not write over its neighbour.
func TestEncodedValuesDoNotOverlap(t *testing.T) {
	r := schemas.Encode(exampleEvent(), "t")
	want := schemas.Encode(exampleEvent(), "t")
	for i := range r.Headers {
		if i < 12 { // ours; the others belong to the event
			_ = append(r.Headers[i].Value, "XXXX"...)
		}
	}
	_ = append(r.Key, "XXXX"...)
	if diff := cmp.Diff(want.Headers, r.Headers); diff != "" {
		t.Errorf("headers after appending to each (-want +got):\n%s", diff)
	}
}

func TestEncodeDecodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent().Draw(t, "event")
		r := schemas.Encode(&e, "webhooks")
		r.Partition, r.Offset = 3, 42
		want := e
		want.Position = schemas.Position{Topic: "webhooks", Partition: 3, Offset: 42}
		want.Timestamp = e.Received
		got, err := schemas.Decode(r)
		if err != nil {
			t.Fatalf("Decode: %v", err)
		}
		if got.Body == nil {
			t.Fatal("the body is nil")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after the round trip (-want +got):\n%s", diff)
		}
		source, id, ok := schemas.Identify(r)
		if source != e.Source || id != e.ID || !ok {
			t.Fatalf("Identify = %q, %q, %v; want %q, %q, true", source, id, ok, e.Source, e.ID)
		}
	})
}

func TestEmptyBodyIsNotNull(t *testing.T) {
	for name, body := range map[string][]byte{"nil": nil, "empty": {}} {
		e := exampleEvent()
		e.Body = body
		r := schemas.Encode(e, "t")
		if r.Value == nil || len(r.Value) != 0 {
			t.Errorf("%s body: value %#v, want an empty one", name, r.Value)
		}
		got, err := schemas.Decode(r)
		if err != nil || got.Body == nil || len(got.Body) != 0 {
			t.Errorf("%s body: decoded to %#v, %v; want an empty one", name, got.Body, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*kgo.Record){
		"no key":        func(r *kgo.Record) { r.Key = nil },
		"empty key":     func(r *kgo.Record) { r.Key = []byte{} },
		"tombstone":     func(r *kgo.Record) { r.Value = nil },
		"no headers":    func(r *kgo.Record) { r.Headers = nil },
		"other version": func(r *kgo.Record) { set(r, "ce_specversion", "2.0") },
		"other version last": func(r *kgo.Record) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_specversion", Value: []byte("2.0")})
		},
		"empty id last":      func(r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_id"}) },
		"no id":              func(r *kgo.Record) { set(r, "ce_id", "") },
		"no source":          func(r *kgo.Record) { set(r, "ce_source", "") },
		"no type":            func(r *kgo.Record) { set(r, "ce_type", "") },
		"names are the case": func(r *kgo.Record) { r.Headers[1].Key = "CE_ID" },
	} {
		r := schemas.Encode(exampleEvent(), "t")
		change(r)
		if _, err := schemas.Decode(r); !errors.Is(err, schemas.ErrNotEvent) {
			t.Errorf("%s: Decode = %v, want ErrNotEvent", name, err)
		}
		if source, id, ok := schemas.Identify(r); ok {
			t.Errorf("%s: Identify = %q, %q, true; want false", name, source, id)
		}
	}
}

func set(r *kgo.Record, name, value string) {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			r.Headers[i].Value = []byte(value)
		}
	}
}

// Records of other programs, and of later versions, are read as far as they
// can be.
func TestDecodeIsLenient(t *testing.T) {
	r := schemas.Encode(exampleEvent(), "t")
	r.Timestamp = time.UnixMilli(1_700_000_000_000)
	set(r, "ce_time", "yesterday")
	set(r, "ce_receivedtime", "today")
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "hooklog_origin_topic", Value: []byte("webhooks")}, kgo.RecordHeader{Key: "ce_subject"})
	e, err := schemas.Decode(r)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Time.Equal(r.Timestamp) || !e.Received.Equal(r.Timestamp) || !e.Timestamp.Equal(r.Timestamp) {
		t.Errorf("times %s, %s and %s; want the record's, %s", e.Time, e.Received, e.Timestamp, r.Timestamp)
	}
	want := []schemas.Header{{Name: "hooklog_origin_topic", Value: []byte("webhooks")}, {Name: "ce_subject"}}
	if diff := cmp.Diff(want, e.Extra); diff != "" {
		t.Errorf("Extra (-want +got):\n%s", diff)
	}
}

// genRecord makes records that are events, nearly events and anything else.
func genRecord() *rapid.Generator[*kgo.Record] {
	names := []string{"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_receivedtime", "content-type", "http_host", "hooklog_request_url", "x"}
	return rapid.Custom(func(t *rapid.T) *kgo.Record {
		r := &kgo.Record{
			Key:   rapid.SampledFrom([][]byte{nil, {}, []byte("k")}).Draw(t, "key"),
			Value: rapid.SampledFrom([][]byte{nil, {}, []byte("v")}).Draw(t, "value"),
		}
		for _, n := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 15).Draw(t, "names") {
			r.Headers = append(r.Headers, kgo.RecordHeader{
				Key:   n,
				Value: rapid.SampledFrom([][]byte{nil, {}, []byte("1.0"), []byte("2.0"), []byte("a")}).Draw(t, n),
			})
		}
		if rapid.Bool().Draw(t, "complete") {
			for _, n := range names[:4] {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: n, Value: []byte("1.0")})
			}
		}
		return r
	})
}

func TestIdentifyAgreesWithDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkIdentify(t, genRecord().Draw(t, "record")) })
}

func checkIdentify(t interface{ Fatalf(string, ...any) }, r *kgo.Record) {
	e, err := schemas.Decode(r)
	if err != nil && !errors.Is(err, schemas.ErrNotEvent) {
		t.Fatalf("Decode = %v, want ErrNotEvent", err)
	}
	source, id, ok := schemas.Identify(r)
	if ok != (err == nil) || ok && (source != e.Source || id != e.ID) {
		t.Fatalf("Identify = %q, %q, %v; Decode = %q, %q, %v", source, id, ok, e.Source, e.ID, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("k"), []byte("{}"), "ce_specversion", []byte("1.0"), "ce_id", []byte("1"), "http_host", []byte("h"))
	f.Add([]byte{}, []byte{}, "ce_id", []byte{}, "ce_time", []byte("2026-03-01T12:00:00Z"), "content-type", []byte("x"))
	f.Add([]byte("k"), []byte("\xff"), "ce_type", []byte("\xff"), "ce_receivedtime", []byte("0000"), "http_", []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte, n1 string, v1 []byte, n2 string, v2 []byte, n3 string, v3 []byte) {
		r := schemas.Encode(exampleEvent(), "t")
		checkIdentify(t, &kgo.Record{Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: n1, Value: v1}, {Key: n2, Value: v2}, {Key: n3, Value: v3}}})
		r.Key, r.Value = key, value
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: n1, Value: v1}, kgo.RecordHeader{Key: n2, Value: v2}, kgo.RecordHeader{Key: n3, Value: v3})
		checkIdentify(t, r)
		e, err := schemas.Decode(r)
		if err != nil {
			return
		}
		// What was read once is written and read the same.
		e.Extra = nil
		e.Position = schemas.Position{Topic: "t"}
		e.Timestamp = e.Received
		again, err := schemas.Decode(schemas.Encode(&e, "t"))
		if err != nil {
			t.Fatalf("decode again: %v", err)
		}
		if diff := cmp.Diff(e, again, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); diff != "" {
			t.Fatalf("after a second round trip (-first +second):\n%s", diff)
		}
	})
}

// recordSize is what Kafka measures against max.message.bytes: one record in a
// batch of its own, uncompressed.
func recordSize(r *kgo.Record) int {
	kr := kmsg.Record{TimestampDelta64: 1 << 40, OffsetDelta: 1 << 20, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		kr.Headers = append(kr.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	const lengthField, batchHeader = 5, 61
	return batchHeader + lengthField + len(kr.AppendTo(nil))
}

// headBytes is the least that the request's head has on the wire.
func headBytes(e *schemas.Event) int {
	n := len(e.Method) + 1 + len(e.Target) + len(" HTTP/1.1\r\n\r\n")
	for _, h := range e.Headers {
		n += len(h.Name) + len(":") + len(h.Value) + len("\r\n")
	}
	return n
}

func TestOverheadBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent().Draw(t, "event")
		e.ID = schemas.EventID(repeat("i", rapid.SampledFrom([]int{1, 512}).Draw(t, "id length")))
		e.Type = schemas.EventType(repeat("t", rapid.SampledFrom([]int{1, 256}).Draw(t, "type length")))
		e.Source = schemas.SourceName(repeat("s", rapid.SampledFrom([]int{1, 64}).Draw(t, "source length")))
		e.Target = repeat("/", rapid.SampledFrom([]int{1, 100, 60_000}).Draw(t, "target length"))
		e.URL = repeat("u", rapid.SampledFrom([]int{0, 2048}).Draw(t, "base length")) + e.Target
		e.Scheme, e.SecretID = repeat("c", 64), repeat("k", 64)
		e.Headers = append(e.Headers, schemas.Header{Name: "content-type", Value: []byte(e.ContentType)})
		for range rapid.SampledFrom([]int{0, 1, 2000}).Draw(t, "tiny headers") {
			e.Headers = append(e.Headers, schemas.Header{Name: "a", Value: []byte{}})
		}
		checkOverhead(t, &e)
	})
	// Nothing but content type: it is stored twice.
	e := exampleEvent()
	e.ContentType = repeat("x", 64_000)
	e.Headers = []schemas.Header{{Name: "content-type", Value: []byte(e.ContentType)}}
	checkOverhead(t, e)
}

func checkOverhead(t interface{ Fatalf(string, ...any) }, e *schemas.Event) {
	head := headBytes(e)
	got, bound := recordSize(schemas.Encode(e, "t")), len(e.Body)+schemas.OverheadBytes(head)
	if got > bound {
		t.Fatalf("a body of %d and a head of %d bytes make a record of %d, want at most %d", len(e.Body), head, got, bound)
	}
}

func TestHeaderName(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"Host":                           "host",
		"X-GitHub-Event":                 "x-github-event",
		"X-Own-Header_1":                 "x-own-header_1",
		repeat("A", 64):                  repeat("a", 64),
		repeat("Ab", 100):                repeat("ab", 100),
		"Ä\xff":                          "Ä\xff",
		repeat("x", 64) + "\u212a\xff":   repeat("x", 64) + "\u212a\xff", // the Kelvin sign, a k to Unicode
		"[\\]^_`{|}~@" + "AZaz" + "[{}]": "[\\]^_`{|}~@azaz[{}]",
	} {
		b := []byte(in)
		got := schemas.HeaderName(b)
		clear(b)
		if got != want {
			t.Errorf("HeaderName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHeaderNameDoesNotAllocateForKnownNames(t *testing.T) {
	name := []byte("X-GitHub-Delivery")
	if n := testing.AllocsPerRun(100, func() { schemas.HeaderName(name) }); n != 0 {
		t.Errorf("HeaderName(%q) allocates %v times, want 0", name, n)
	}
}

func TestStored(t *testing.T) {
	for _, n := range []string{"authorization", "cookie", "proxy-authorization", "x-gitlab-token", "connection", "transfer-encoding", "upgrade", "te", "verif-hash"} {
		if schemas.Stored(n) {
			t.Errorf("Stored(%q) = true, want false", n)
		}
	}
	for _, n := range []string{"host", "content-type", "content-length", "stripe-signature", "x-hub-signature-256", "", "x"} {
		if !schemas.Stored(n) {
			t.Errorf("Stored(%q) = false, want true", n)
		}
	}
}

func TestEventHeader(t *testing.T) {
	e := exampleEvent()
	if got := string(e.Header("x-trace")); got != "one" {
		t.Errorf("Header(x-trace) = %q, want the first, one", got)
	}
	if got := e.Header("x-none"); got != nil {
		t.Errorf("Header(x-none) = %q, want nil", got)
	}
}

func BenchmarkEncode(b *testing.B) {
	e := exampleEvent()
	b.ReportAllocs()
	for b.Loop() {
		schemas.Encode(e, "webhooks")
	}
}

func BenchmarkDecode(b *testing.B) {
	r := schemas.Encode(exampleEvent(), "webhooks")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schemas.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	r := schemas.Encode(exampleEvent(), "webhooks")
	b.ReportAllocs()
	for b.Loop() {
		schemas.Identify(r)
	}
}
