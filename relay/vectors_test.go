package relay_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

// vector is a request signed by a provider's own library, and what a receiver
// has to make of it.
type vector struct {
	preset string
	source relay.Source

	Name    string
	Secrets []string
	Options struct {
		ToleranceSeconds int64 `json:"tolerance_seconds"`
	}
	NowUnix int64 `json:"now_unix"`
	Request struct {
		Headers    map[string][]string
		BodyBase64 *string `json:"body_base64"`
		BodyRepeat struct {
			Prefix string `json:"prefix_base64"`
			Base64 string
			Times  int
			Suffix string `json:"suffix_base64"`
		} `json:"body_repeat"`
	}
	Expect struct {
		Accept bool
		Why    string
		ID     *string `json:"event_id"`
		Type   *string `json:"event_type"`
		Time   *string `json:"event_time"`
	}
}

func readVectors(t *testing.T) []*vector {
	t.Helper()
	var all []*vector
	for _, name := range []string{"github", "standard-webhooks", "stripe"} {
		b, err := os.ReadFile(filepath.Join("preset", "testdata", "vectors", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Cases []*vector }
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(file.Cases) < 20 {
			t.Fatalf("%s has %d cases, want 20 or more", name, len(file.Cases))
		}
		for i, v := range file.Cases {
			v.preset = name
			// A source for each case: some share an event, and none may be
			// answered as the copy of another.
			v.source = vectorSource(t, v, fmt.Sprintf("%s.%d", name, i))
			all = append(all, v)
		}
	}
	return all
}

func vectorSource(t *testing.T, v *vector, name string) relay.Source {
	t.Helper()
	s := presetSource(t, v.preset, schemas.SourceName(name), v.Secrets...)
	if v.Options.ToleranceSeconds > 0 {
		t.Fatalf("%s sets a tolerance, which this test does not", v.Name)
	}
	s.MaxBody = 2 << 20
	return s
}

func (v *vector) body(t *testing.T) string {
	t.Helper()
	decode := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		return b
	}
	if v.Request.BodyBase64 != nil {
		return string(decode(*v.Request.BodyBase64))
	}
	r := v.Request.BodyRepeat
	return string(slices.Concat(decode(r.Prefix), bytes.Repeat(decode(r.Base64), r.Times), decode(r.Suffix)))
}

// lines are the header lines as the sender's library made them.
func (v *vector) lines() (lines []string) {
	for name, values := range v.Request.Headers {
		for _, value := range values {
			lines = append(lines, name+": "+value)
		}
	}
	slices.Sort(lines)
	return lines
}

// code is what the sender is told, by what the case is about.
func (v *vector) code() string {
	switch v.Name {
	case "invalid-timestamp-stale", "timestamp-future-beyond-tolerance":
		return signature.CodeStale
	case "invalid-missing-signature-header", "invalid-empty-signature-header", "invalid-only-sha1-header", "invalid-only-v0", "invalid-no-timestamp",
		"invalid-timestamp-header-missing", "invalid-id-header-missing", "invalid-signature-version", "invalid-version-missing":
		return signature.CodeMissing
	}
	return signature.CodeBad
}

// TestVectors sends what the providers' own libraries signed through a running
// relay, byte for byte and each at its own time, and reads it back.
func TestVectors(t *testing.T) {
	vectors := readVectors(t)
	var clock atomic.Int64
	k := startKafka(t)
	r := newRelay(t, k, func(o *relay.Options) {
		o.Sources = nil
		for _, v := range vectors {
			o.Sources = append(o.Sources, v.source)
		}
	})
	r.SetClock(func() time.Time { return time.Unix(clock.Load(), 0) })
	r.run(t)
	r.awaitReady(t)

	places := make(map[string]string)
	for _, v := range vectors {
		clock.Store(v.NowUnix)
		lines := append(v.lines(), fmt.Sprintf("Content-Length: %d", len(v.body(t))))
		a := r.ask(t, head("POST /hooks/"+string(v.source.Name)+" HTTP/1.1", lines, v.body(t)))
		switch {
		case v.Expect.Accept && (a.status != 200 || a.code(t) != "accepted"):
			t.Errorf("%s %s: %v, want 200 accepted", v.preset, v.Name, a)
		case v.Expect.Accept:
			places[string(v.source.Name)] = a.place(t)
		case a.status != 401 || a.code(t) != v.code():
			t.Errorf("%s %s: %v, want 401 %s (%s)", v.preset, v.Name, a, v.code(), v.Expect.Why)
		}
	}
	records := make(map[string]*kgo.Record)
	for _, rec := range readTopic(t, k, topicName) {
		e, err := schemas.Decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		if records[string(e.Source)] != nil {
			t.Errorf("%s is in the topic twice", e.Source)
		}
		records[string(e.Source)] = rec
	}
	for _, v := range vectors {
		rec := records[string(v.source.Name)]
		if v.Expect.Accept && rec != nil {
			checkVectorRecord(t, v, rec, places[string(v.source.Name)])
		} else if v.Expect.Accept != (rec != nil) {
			t.Errorf("%s %s: in the topic %v, want %v", v.preset, v.Name, rec != nil, v.Expect.Accept)
		}
	}
}

func checkVectorRecord(t *testing.T, v *vector, rec *kgo.Record, place string) {
	t.Helper()
	body := v.body(t)
	if rec.Value == nil || sha256.Sum256(rec.Value) != sha256.Sum256([]byte(body)) {
		t.Errorf("%s %s: value of %d bytes (nil: %v) differs from the body of %d", v.preset, v.Name, len(rec.Value), rec.Value == nil, len(body))
	}
	e, err := schemas.Decode(rec)
	if err != nil {
		t.Fatal(err)
	}
	if e.Position.String() != place {
		t.Errorf("%s %s: record at %v, the answer said %s", v.preset, v.Name, e.Position, place)
	}
	id, typ := string(schemas.BodyID([]byte(body))), "unknown"
	if v.Expect.ID != nil {
		id = *v.Expect.ID
	}
	if v.Expect.Type != nil {
		typ = *v.Expect.Type
	}
	// What is not asserted may be given all the same: GitHub's IDs of bodies
	// that are no JSON, say.
	if string(rec.Key) != string(e.ID) || v.Expect.ID != nil && string(e.ID) != id || v.Expect.Type != nil && string(e.Type) != typ {
		t.Errorf("%s %s: key %q, ID %q and type %q, want ID %q and type %q", v.preset, v.Name, rec.Key, e.ID, e.Type, id, typ)
	}
	now := time.Unix(v.NowUnix, 0).UTC()
	if v.Expect.Time != nil {
		want, ok := schemas.ParseTime(*v.Expect.Time)
		if !ok || !e.Time.Equal(want) {
			t.Errorf("%s %s: time %v, want %s", v.preset, v.Name, e.Time, *v.Expect.Time)
		}
	} else if v.preset == "github" && !e.Time.Equal(now) {
		t.Errorf("%s %s: time %v, want the receive time %v", v.preset, v.Name, e.Time, now)
	}
	if !e.Received.Equal(now) || !rec.Timestamp.Equal(now) {
		t.Errorf("%s %s: received %v, record's time %v, want %v", v.preset, v.Name, e.Received, rec.Timestamp, now)
	}
	if e.Scheme != v.preset || !slices.Contains(v.source.Verifier.SecretIDs(), e.SecretID) {
		t.Errorf("%s %s: scheme %q and secret %q, want %q and one of %q", v.preset, v.Name, e.Scheme, e.SecretID, v.preset, v.source.Verifier.SecretIDs())
	}
	got := []string{}
	for _, h := range e.Headers {
		got = append(got, h.Name+": "+string(h.Value))
	}
	want := []string{"host: hooks.test"}
	for _, line := range v.lines() {
		name, value, _ := strings.Cut(line, ": ")
		want = append(want, strings.ToLower(name)+": "+value)
	}
	want = append(want, fmt.Sprintf("content-length: %d", len(body)))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s %s: headers (-want +got):\n%s", v.preset, v.Name, d)
	}
	verifyAgain(t, v, &e)
}

// verifyAgain judges the record by nothing but what it holds, at its receive
// time.
func verifyAgain(t *testing.T, v *vector, e *schemas.Event) {
	t.Helper()
	req := &signature.Request{Method: []byte(e.Method), Target: []byte(e.Target), URL: e.URL, Body: e.Body}
	for _, h := range e.Headers {
		req.Fields = append(req.Fields, signature.Field{Name: []byte(h.Name), Value: h.Value})
	}
	result, err := v.source.Verifier.Verify(req, e.Received)
	if err != nil || result.SecretID != e.SecretID {
		t.Errorf("%s %s: verified from the topic by %q, %v, want by %q", v.preset, v.Name, result.SecretID, err, e.SecretID)
	}
}
