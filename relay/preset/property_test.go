package preset_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hooklog/relay/preset"
	"hooklog/relay/signature"
)

// secretFor returns a secret as the provider writes them.
func secretFor(p preset.Preset) string {
	if p.Scheme.Key == signature.KeyWhsec {
		return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	}
	return "whsec_GA9eN3FfZDxbhovovS7njne3Sopodtpq"
}

func newVerifier(t testing.TB, p preset.Preset) *signature.Verifier {
	t.Helper()
	v, err := signature.New(p.Scheme, []signature.Secret{{Value: signature.NewSecretValue(secretFor(p))}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestChangedIsRefused: every single bit of what is signed, and of what says
// so, one after the other.
func TestChangedIsRefused(t *testing.T) {
	now := time.Unix(1_716_436_939, 0)
	for _, name := range preset.Names() {
		p, _ := preset.Lookup(name)
		v := newVerifier(t, p)
		rapid.Check(t, func(t *rapid.T) {
			r := &signature.Request{Method: []byte("POST"), Target: []byte("/hooks/x"), URL: "https://example.com/hooks/x"}
			r.Body = rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "body")
			var err error
			if r.Fields, err = v.Sign(r, rapid.StringMatching(`[A-Za-z0-9_-]{1,40}`).Draw(t, "id"), now); err != nil {
				t.Fatalf("%s: Sign = %v", name, err)
			}
			if _, err := v.Verify(r, now); err != nil {
				t.Fatalf("%s: Verify(%s) = %v, want accepted", name, show(r), err)
			}
			texts := [][]byte{r.Body}
			for _, f := range r.Fields {
				texts = append(texts, f.Value)
			}
			for _, text := range texts {
				for bit := range 8 * len(text) {
					text[bit/8] ^= 1 << (bit % 8)
					if got, err := v.Verify(r, now); err == nil {
						t.Fatalf("%s: Verify(%s), one bit changed, = %+v, want an error", name, show(r), got)
					}
					text[bit/8] ^= 1 << (bit % 8)
				}
			}
		})
	}
}

// TestMangledIsRefused: the signature header cut at each length, doubled, or
// gone, for each preset.
func TestMangledIsRefused(t *testing.T) {
	now := time.Unix(1_716_436_939, 0)
	for _, name := range preset.Names() {
		p, _ := preset.Lookup(name)
		v := newVerifier(t, p)
		sign := func() *signature.Request {
			r := &signature.Request{Body: []byte(`{"id":"evt_1"}`)}
			var err error
			if r.Fields, err = v.Sign(r, "msg_1", now); err != nil {
				t.Fatalf("%s: Sign = %v", name, err)
			}
			return r
		}
		refuse := func(r *signature.Request) {
			t.Helper()
			if got, err := v.Verify(r, now); err == nil {
				t.Errorf("%s: Verify(%s) = %+v, want an error", name, show(r), got)
			}
		}
		for i, f := range sign().Fields {
			for n := range f.Value {
				r := sign()
				r.Fields[i].Value = f.Value[:n]
				refuse(r)
			}
			r := sign()
			r.Fields[i].Value = slices.Concat(f.Value, f.Value)
			if p.Scheme.List.IsZero() || string(f.Name) != p.Scheme.Header {
				refuse(r) // In a list the parts around the seam are still elements.
			}
			r = sign()
			r.Fields = append(r.Fields, f)
			refuse(r)
			r = sign()
			r.Fields = slices.Delete(r.Fields, i, i+1)
			refuse(r)
		}
	}
}

// FuzzVerify must never panic, and never accept what was not signed: the
// header then has what Sign would write for the same ID, time and body.
func FuzzVerify(f *testing.F) {
	now := time.Unix(1_716_436_936, 0)
	names := preset.Names()
	var verifiers []*signature.Verifier
	for i, name := range names {
		p, _ := preset.Lookup(name)
		v := newVerifier(f, p)
		verifiers = append(verifiers, v)
		fields, err := v.Sign(&signature.Request{Body: []byte(`{"id":"evt_1"}`)}, "msg_1", now)
		if err != nil {
			f.Fatal(err)
		}
		header := string(fields[len(fields)-1].Value)
		f.Add(byte(i), header, "1716436936", "msg_1", []byte(`{"id":"evt_1"}`))
		f.Add(byte(i), header+","+header+" "+header, "01716436936", "msg.1", []byte(`{"id":["evt_1"]}`))
	}
	f.Fuzz(func(t *testing.T, which byte, header, timestamp, id string, body []byte) {
		i := int(which) % len(names)
		p, _ := preset.Lookup(names[i])
		r := &signature.Request{Body: body, URL: "https://example.com/"}
		for name, value := range map[string]string{p.Scheme.Header: header, p.Scheme.Timestamp.Header: timestamp, p.Scheme.ID: id} {
			if name != "" {
				r.Fields = append(r.Fields, signature.Field{Name: []byte(name), Value: []byte(value)})
			}
		}
		if got, err := verifiers[i].Verify(r, now); err == nil {
			fields, err := verifiers[i].Sign(r, id, cmp.Or(got.Timestamp, now))
			if err != nil {
				t.Fatalf("%s: Verify(%s) = %+v, but Sign = %v", p.Name, show(r), got, err)
			}
			sent := string(fields[len(fields)-1].Value)
			_, sig, _ := strings.Cut(sent, p.Scheme.List.Label+p.Scheme.List.Assign+p.Scheme.Prefix)
			if sig == "" || !strings.Contains(header, sig) {
				t.Fatalf("%s: Verify(%s) = %+v, but Sign gives %s", p.Name, show(r), got, sent)
			}
		}
		// Extraction takes any body and any header.
		p.ID.Extract(lookup(r), body)
		p.Type.Extract(lookup(r), body)
		p.Time.Extract(lookup(r), body)
	})
}

func show(r *signature.Request) string {
	var b strings.Builder
	for _, f := range r.Fields {
		fmt.Fprintf(&b, "%s: %s; ", f.Name, f.Value)
	}
	return b.String() + fmt.Sprintf("body %q", r.Body)
}
