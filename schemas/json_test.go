package schemas_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"hooklog/schemas"
)

func TestAppendJSONGolden(t *testing.T) {
	e := exampleEvent()
	e.Body = []byte("{\r\n  \"id\": \"evt_1\",\n  \"n\": 12345678901234567890.10, \"html\": \"<a&b>\"\n}\r\n")
	e.Position = schemas.Position{Topic: "webhooks", Partition: 3, Offset: 42}
	e.Timestamp = e.Received.Add(-time.Hour)
	e.Extra = []schemas.Header{{Name: "hooklog_origin_topic", Value: []byte("raw")}}
	got, err := schemas.AppendJSON([]byte("before "), e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `before {"specversion":"1.0","id":"evt_1NG8Du2eZvKYlo2CUI79vXWy","source":"stripe","type":"payment_intent.succeeded",` +
		`"time":"2026-03-01T12:00:00Z","datacontenttype":"application/json; charset=utf-8","receivedtime":"2026-03-01T12:00:00.123456789Z",` +
		`"scheme":"stripe-v1","secretid":"k1a2b3","topic":"webhooks","partition":3,"offset":42,"timestamp":1772362800123,` +
		`"headers":{"hooklog_origin_topic":["raw"],"hooklog_request_method":["POST"],"hooklog_request_target":["/hooks/stripe?token=REDACTED"],` +
		`"hooklog_request_url":["https://hooks.example.com/hooks/stripe"],"http_content-type":["application/json; charset=utf-8"],` +
		`"http_host":["hooks.example.com"],"http_x-empty":[""],"http_x-trace":["one","two"]},` +
		`"data":{"id":"evt_1","n":12345678901234567890.10,"html":"<a&b>"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// line is what a reader in another language gets.
type line struct {
	ID         string              `json:"id"`
	Time       string              `json:"time"`
	Timestamp  int64               `json:"timestamp"`
	Headers    map[string][]string `json:"headers"`
	Data       json.RawMessage     `json:"data"`
	DataBase64 *string             `json:"data_base64"`
}

type failer interface{ Fatalf(string, ...any) }

// checkLine fails unless the event's line says the same as the event.
func checkLine(t failer, e *schemas.Event) line {
	b, err := schemas.AppendJSON(nil, e)
	if err != nil {
		t.Fatalf("AppendJSON: %v", err)
	}
	if bytes.ContainsAny(b, "\n\r") || !utf8.Valid(b) || !json.Valid(b) {
		t.Fatalf("not one line of JSON: %q", short(string(b)))
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		t.Fatalf("read %s: %v", short(string(b)), err)
	}
	switch {
	case (l.Data == nil) == (l.DataBase64 == nil):
		t.Fatalf("body %q: data %q and data_base64 %v, want exactly one", e.Body, l.Data, l.DataBase64)
	case l.DataBase64 != nil:
		got, err := base64.StdEncoding.DecodeString(*l.DataBase64)
		if err != nil || !bytes.Equal(got, e.Body) {
			t.Fatalf("data_base64 is %q, %v; want %q", got, err, e.Body)
		}
	default:
		if got, want := compact(t, l.Data), compact(t, e.Body); got != want {
			t.Fatalf("data is %s, want %s", got, want)
		}
	}
	return l
}

func compact(t failer, b []byte) string {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		t.Fatalf("compact %q: %v", b, err)
	}
	return out.String()
}

func TestAppendJSONSaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent().Draw(t, "event")
		checkLine(t, &e)
	})
}

func TestAppendJSONBodies(t *testing.T) {
	f := func(name, body string, asJSON bool) {
		t.Helper()
		e := exampleEvent()
		e.Body = []byte(body)
		if l := checkLine(t, e); (l.Data != nil) != asJSON {
			t.Errorf("%s: data is %q, want JSON: %v", name, short(string(l.Data)), asJSON)
		}
	}
	f("object", `{"a":1}`, true)
	f("number", `12`, true)
	f("null", `null`, true)
	f("spread over lines", "[\n1,\r\n2\t]\n", true)
	f("twice the same name", `{"a":1,"a":2}`, true)
	f("escaped controls", `{"a":"\u0000\n\u2028"}`, true)
	f("empty", "", false)
	f("space", " \n", false)
	f("form", "a=1", false)
	f("two documents", "{}{}", false)
	f("BOM", "\ufeff{}", false)
	f("not UTF-8 in a string", "{\"a\":\"\xff\"}", false)
	f("cut off character in a string", "\"\xe2\x82\"", false)
	f("raw control in a string", "\"\x01\"", false)
	f("512 levels", repeat("[", 512)+repeat("]", 512), true)
	f("512 levels beside others", "["+repeat(`{"a":`, 511)+"1"+repeat("}", 511)+","+repeat("[", 511)+repeat("]", 511)+"]", true)
	f("513 levels", repeat("[", 513)+repeat("]", 513), false)
	f("10,000 levels, which Go takes", repeat("[", 10_000)+repeat("]", 10_000), false)
	f("10,001 levels", repeat("[", 10_001)+repeat("]", 10_001), false)
	f("wide but not deep", "["+repeat("[],", 2000)+`"]"]`, true)
	f("brackets in strings", `["`+repeat(`[{\"`, 2000)+`"]`, true)
	f("never closed", repeat("[", 1<<20), false)
}

func TestAppendJSONHeadersThatAreNotUTF8(t *testing.T) {
	e := exampleEvent()
	e.ID = "\xff"
	e.Headers = []schemas.Header{{Name: "x", Value: []byte("a\xffb")}, {Name: "x", Value: []byte("\x00\u2028")}}
	e.Extra = []schemas.Header{{Name: "hooklog_error", Value: []byte("\xc3")}}
	l := checkLine(t, e)
	if diff := cmp.Diff([]string{"a\ufffdb", "\x00\u2028"}, l.Headers["http_x"]); diff != "" {
		t.Errorf("http_x (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"\ufffd"}, l.Headers["hooklog_error"]); diff != "" {
		t.Errorf("hooklog_error (-want +got):\n%s", diff)
	}
	if l.ID != "\ufffd" {
		t.Errorf("id %q, want the replacement character", l.ID)
	}
}

// An event that was not produced yet has no time of its own record, and may
// have no time of its own.
func TestAppendJSONBeforeTheLog(t *testing.T) {
	e := exampleEvent()
	e.Time = time.Time{}
	l := checkLine(t, e)
	if l.Timestamp != e.Received.UnixMilli() || l.Time != "2026-03-01T12:00:00.123456789Z" {
		t.Errorf("timestamp %d and time %s, want the receive time", l.Timestamp, l.Time)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e := exampleEvent()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = schemas.AppendJSON(buf[:0], e)
	}
}
