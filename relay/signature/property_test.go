package signature_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hooklog/relay/signature"
)

// drawScheme makes a valid scheme out of everything that can be declared.
func drawScheme(t *rapid.T) signature.Scheme {
	pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	s := signature.Scheme{
		Name:      "random",
		Header:    "X-Sig",
		Prefix:    []string{"", "sha256=", "v0="}[pick("prefix", 3)],
		Encoding:  signature.Encoding(pick("encoding", 3)),
		Algorithm: signature.Algorithm(pick("algorithm", 4)),
		Key:       signature.KeyFormat(pick("key format", 4)),
		List: []signature.List{
			{},
			{Separator: ",", Assign: "=", Label: "v1"},
			{Separator: " ", Assign: ",", Label: "v1"},
			{Separator: "; ", Assign: "=", Label: "h1"},
			{Separator: ","},
		}[pick("list", 5)],
	}
	parts := []string{"{body}"}
	place := pick("timestamp", 3)
	if place == 1 {
		s.Timestamp = signature.Timestamp{Header: "X-Time", Unit: signature.Unit(pick("unit", 3))}
	}
	if place == 2 && s.List.Label != "" {
		s.Timestamp = signature.Timestamp{Label: "t", Unit: signature.Unit(pick("unit", 3))}
	}
	if !s.Timestamp.IsZero() {
		parts = append(parts, "{ts}")
	}
	if rapid.Bool().Draw(t, "signs ID") {
		s.ID = "X-ID"
		parts = append(parts, "{id}")
	}
	for _, part := range []string{"{method}", "{url}", "{target}"} {
		if rapid.Bool().Draw(t, "signs "+part) {
			parts = append(parts, part)
		}
	}
	parts = rapid.Permutation(parts).Draw(t, "parts")
	separator := []string{".", ":", "\n", "--", "|{{|"}[pick("separator", 5)]
	s.Signed = signature.MustMessage([]string{"", "v0" + separator}[pick("start", 2)] + strings.Join(parts, separator))
	return s
}

func drawSecret(t *rapid.T, f signature.KeyFormat) string {
	switch f {
	case signature.KeyText:
		return rapid.StringMatching(`[!-~]{1,40}`).Draw(t, "secret")
	case signature.KeyHex, signature.KeyBase64, signature.KeyWhsec:
	}
	// HMAC fills short keys up with zeros; one that ends in none has no twin.
	raw := append(rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "secret"), 1)
	switch f {
	case signature.KeyHex:
		return hex.EncodeToString(raw)
	case signature.KeyWhsec:
		return "whsec_" + base64.StdEncoding.EncodeToString(raw)
	case signature.KeyBase64, signature.KeyText:
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// drawSigned makes a verifier with a random scheme and a request it signed.
func drawSigned(t *rapid.T) (*signature.Verifier, signature.Scheme, *signature.Request, time.Time) {
	s := drawScheme(t)
	v, err := signature.New(s, []signature.Secret{{ID: "s", Value: signature.NewSecretValue(drawSecret(t, s.Key))}}, 0)
	if err != nil {
		t.Fatalf("New(%+v) = %v, want a verifier", s, err)
	}
	r := &signature.Request{
		Method: []byte(rapid.SampledFrom([]string{"POST", "PUT"}).Draw(t, "method")),
		Target: []byte(rapid.StringMatching(`/[a-z/?=&]{0,20}`).Draw(t, "target")),
		URL:    "https://example.com/x?y=1",
		Body:   rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"),
	}
	now := time.Unix(rapid.Int64Range(1, 99_999_999_999).Draw(t, "now"), 0)
	r.Fields, err = v.Sign(r, rapid.StringMatching(`[A-Za-z0-9_]{1,40}`).Draw(t, "id"), now)
	if err != nil {
		t.Fatalf("Sign with %+v = %v", s, err)
	}
	return v, s, r, now
}

func TestSignedIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, s, r, now := drawSigned(t)
		off := time.Duration(rapid.Int64Range(-300, 299).Draw(t, "off")) * time.Second
		got, err := v.Verify(r, now.Add(off))
		want := signature.Result{SecretID: "s"}
		if !s.Timestamp.IsZero() {
			want.Timestamp = now.UTC()
		}
		if err != nil || got != want {
			t.Fatalf("Verify(%s) signed with %q = %+v, %v, want %+v", show(r), s.Signed, got, err, want)
		}
	})
}

// TestChangedIsRefused: whatever single bit changes, of whatever is signed or
// says so, the request is refused.
func TestChangedIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, s, r, now := drawSigned(t)
		changed := clone(r)
		targets := map[string][]byte{}
		for _, f := range changed.Fields {
			targets[string(f.Name)] = f.Value
		}
		template := s.Signed.String()
		for part, bytes := range map[string][]byte{"body": changed.Body, "method": changed.Method, "target": changed.Target} {
			if strings.Contains(template, "{"+part+"}") && len(bytes) > 0 {
				targets[part] = bytes
			}
		}
		var names []string
		for name := range targets {
			names = append(names, name)
		}
		slices.Sort(names)
		name := rapid.SampledFrom(names).Draw(t, "what")
		bit := rapid.IntRange(0, 8*len(targets[name])-1).Draw(t, "bit")
		targets[name][bit/8] ^= 1 << (bit % 8)
		if got, err := v.Verify(changed, now); err == nil {
			t.Fatalf("Verify with bit %d of %s flipped: %s\nsigned with %q: %s\n= %+v, want an error", bit, name, show(changed), template, show(r), got)
		}
	})
}

// TestMangledIsRefused: cut, empty and doubled signatures and headers.
func TestMangledIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, s, r, now := drawSigned(t)
		i := rapid.IntRange(0, len(r.Fields)-1).Draw(t, "field")
		refuse := func(how string, change func(*signature.Request)) {
			changed := clone(r)
			change(changed)
			if got, err := v.Verify(changed, now); err == nil {
				t.Fatalf("Verify, %s %s: %s\n= %+v with %q, want an error", r.Fields[i].Name, how, show(changed), got, s.Signed)
			}
		}
		refuse("cut", func(r *signature.Request) {
			value := &r.Fields[i].Value
			*value = (*value)[:rapid.IntRange(0, len(*value)-1).Draw(t, "length")]
		})
		refuse("gone", func(r *signature.Request) { r.Fields = slices.Delete(r.Fields, i, i+1) })
		refuse("twice", func(r *signature.Request) { r.Fields = append(r.Fields, r.Fields[i]) })
		if s.List.Separator != " " || string(r.Fields[i].Name) != s.Header { // There it is one more element, an empty one.
			refuse("with a blank in front", func(r *signature.Request) { r.Fields[i].Value = append([]byte(" "), r.Fields[i].Value...) })
			refuse("with a blank behind", func(r *signature.Request) { r.Fields[i].Value = append(r.Fields[i].Value, ' ') })
		}
		refuse("with its last signature doubled", func(r *signature.Request) {
			f := &r.Fields[len(r.Fields)-1]
			_, sig, _ := strings.Cut(string(f.Value), s.List.Label+s.List.Assign+s.Prefix)
			f.Value = append(f.Value, sig...)
		})
	})
}

// TestAnyPairMatches: several signatures and several secrets, one pair of
// which belongs together.
func TestAnyPairMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nSecrets := rapid.IntRange(1, signature.MaxSecrets).Draw(t, "secrets")
		nSent := rapid.IntRange(1, signature.MaxSignatures).Draw(t, "signatures")
		right := rapid.IntRange(0, nSecrets-1).Draw(t, "right secret")
		at := rapid.IntRange(-1, nSent-1).Draw(t, "right signature")
		var secrets []signature.Secret
		for i := range nSecrets {
			name := fmt.Sprintf("s%d", i)
			secrets = append(secrets, signature.Secret{ID: name, Value: signature.NewSecretValue(name)})
		}
		v, err := signature.New(labelled, secrets, 0)
		if err != nil {
			t.Fatal(err)
		}
		value := "t=1716436939"
		for i := range nSent {
			key := fmt.Sprintf("other%d", i)
			if i == at {
				key = secrets[right].ID
			}
			value += ",v1=" + hexMAC(key, "1716436939.b")
		}
		got, err := v.Verify(request("b", labelled.Header, value), epoch)
		if at < 0 && err == nil || at >= 0 && (err != nil || got.SecretID != secrets[right].ID) {
			t.Fatalf("Verify(%s) = %+v, %v, want secret %d if there is a right signature (%d)", value, got, err, right, at)
		}
	})
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		template := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{
			"{body}", "{ts}", "{id}", "{url}", "{{", "}}", "{", "}", "a", ".", "\n", "{body", "ts}", "é", "\xff",
		})).Draw(t, "template"), "")
		m, err := signature.ParseMessage(template)
		if err != nil {
			return
		}
		again, err := signature.ParseMessage(m.String())
		if err != nil || !slices.Equal(m, again) || m.String() != template {
			t.Fatalf("ParseMessage(%q) = %q, and again %q, %v", template, m, again, err)
		}
	})
}
