package preset_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hooklog/relay/preset"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

// vectorFile is a file of testdata/vectors: requests signed by the provider's
// own libraries, and what a receiver has to make of them.
type vectorFile struct {
	Preset string
	Cases  []vectorCase
}

type vectorCase struct {
	Name, Level string
	Secrets     []string
	PublicURL   string `json:"public_url"`
	Options     struct {
		ToleranceSeconds int64 `json:"tolerance_seconds"`
	}
	NowUnix int64 `json:"now_unix"`
	Request struct {
		Method, Path string
		Headers      map[string][]string
		BodyBase64   *string `json:"body_base64"`
		BodyRepeat   struct {
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

func readVectors(t testing.TB, name string) vectorFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vectors", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return file
}

func (c *vectorCase) request(t testing.TB) *signature.Request {
	t.Helper()
	decode := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		return b
	}
	r := &signature.Request{Method: []byte(c.Request.Method), Target: []byte(c.Request.Path), URL: c.PublicURL}
	if repeat := c.Request.BodyRepeat; c.Request.BodyBase64 != nil {
		r.Body = decode(*c.Request.BodyBase64)
	} else {
		r.Body = slices.Concat(decode(repeat.Prefix), bytes.Repeat(decode(repeat.Base64), repeat.Times), decode(repeat.Suffix))
	}
	for name, values := range c.Request.Headers {
		for _, value := range values {
			r.Fields = append(r.Fields, signature.Field{Name: []byte(name), Value: []byte(value)})
		}
	}
	return r
}

func (c *vectorCase) verifier(t testing.TB, s signature.Scheme) *signature.Verifier {
	t.Helper()
	var secrets []signature.Secret
	for _, text := range c.Secrets {
		secrets = append(secrets, signature.Secret{Value: signature.NewSecretValue(text)})
	}
	v, err := signature.New(s, secrets, time.Duration(c.Options.ToleranceSeconds)*time.Second)
	if err != nil {
		t.Fatalf("New(%s) = %v, want a verifier", s.Name, err)
	}
	return v
}

// differs lists the policy cases whose recommended outcome is not ours, each
// with the reason. There is none.
var differs = map[string]string{}

func TestVectors(t *testing.T) {
	for _, name := range preset.Names() {
		t.Run(name, func(t *testing.T) {
			p, _ := preset.Lookup(name)
			file := readVectors(t, name)
			if file.Preset != name || len(file.Cases) < 20 {
				t.Fatalf("vectors for %s have preset %s and %d cases, want more than 20 of it", name, file.Preset, len(file.Cases))
			}
			for _, c := range file.Cases {
				t.Run(c.Name, func(t *testing.T) { checkVector(t, p, c) })
			}
		})
	}
}

func checkVector(t *testing.T, p preset.Preset, c vectorCase) {
	want := c.Expect.Accept
	if reason, ok := differs[p.Name+"/"+c.Name]; ok {
		if c.Level != "policy" {
			t.Fatalf("level %s may not differ (%s)", c.Level, reason)
		}
		want = !want
	}
	r := c.request(t)
	got, err := c.verifier(t, p.Scheme).Verify(r, time.Unix(c.NowUnix, 0))
	if (err == nil) != want {
		t.Fatalf("Verify = %+v, %v, want accepted: %v (%s)", got, err, want, c.Expect.Why)
	}
	if err != nil {
		if want := code(c); err.(*signature.Error).Code() != want {
			t.Errorf("Verify = %v, code %s, want %s (%s)", err, err.(*signature.Error).Code(), want, c.Expect.Why)
		}
		return
	}
	checkText(t, "ID", p.ID, r, c.Expect.ID)
	checkText(t, "type", p.Type, r, c.Expect.Type)
	if c.Expect.Time == nil {
		return
	}
	text, _ := p.Time.Extract(lookup(r), r.Body)
	gotTime, gotOK := schemas.ParseTime(text)
	wantTime, ok := schemas.ParseTime(*c.Expect.Time)
	if !ok || !gotOK || !gotTime.Equal(wantTime) {
		t.Errorf("time %q at %s is %v, %v, want %v", text, p.Time, gotTime, gotOK, *c.Expect.Time)
	}
}

// code is what the sender is told, by what the case is about.
func code(c vectorCase) string {
	switch c.Name {
	case "invalid-timestamp-stale", "timestamp-future-beyond-tolerance":
		return signature.CodeStale
	case "invalid-missing-signature-header", "invalid-empty-signature-header", "invalid-only-sha1-header", "invalid-only-v0", "invalid-no-timestamp",
		"invalid-timestamp-header-missing", "invalid-id-header-missing", "invalid-signature-version", "invalid-version-missing":
		return signature.CodeMissing
	default:
		return signature.CodeBad
	}
}

func checkText(t *testing.T, what string, x schemas.Extractor, r *signature.Request, want *string) {
	t.Helper()
	if want == nil {
		return
	}
	if got, ok := x.Extract(lookup(r), r.Body); !ok || got != *want {
		t.Errorf("%s at %s is %q, %v, want %q", what, x, got, ok, *want)
	}
}

func lookup(r *signature.Request) schemas.Lookup {
	return func(name string) []byte {
		value, _ := r.Header(name)
		return value
	}
}

// TestVectorsCoverLevels guards the guard: a file that is read wrongly would
// have no cases to fail.
func TestVectorsCoverLevels(t *testing.T) {
	for _, name := range preset.Names() {
		n := map[string]int{}
		for _, c := range readVectors(t, name).Cases {
			n[c.Level]++
			if c.Expect.Accept {
				n["accepted"]++
			}
			if c.Expect.ID != nil && c.Expect.Type != nil {
				n["extracted"]++
			}
			if len(c.Secrets) == 0 || c.NowUnix == 0 || strings.TrimSpace(c.Name) == "" {
				t.Errorf("%s: case %q lacks secrets, clock or name", name, c.Name)
			}
		}
		if n["must"] < 20 || n["policy"] < 2 || n["accepted"] < 10 || n["extracted"] < 8 {
			t.Errorf("%s: cases by kind: %v, want at least 20 must, 2 policy, 10 accepted and 8 extracted", name, n)
		}
	}
}
