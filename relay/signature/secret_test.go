package signature_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hooklog/relay/signature"
)

func TestSecretValueRedacts(t *testing.T) {
	const text = "hunter2-hunter2"
	type nested struct {
		hidden signature.SecretValue
		Shown  *signature.SecretValue
		list   []signature.Secret
	}
	value := signature.NewSecretValue(text)
	s := signature.Secret{Value: value}
	v := newVerifier(t, plain, text)
	subjects := map[string]any{
		"value": value, "pointer": &value, "secret": s, "secret pointer": &s, "list": []signature.Secret{s},
		"nested": nested{value, &value, []signature.Secret{s}}, "verifier": v, "verifier struct": *v,
		"map": map[signature.SecretValue]int{value: 1},
	}
	for name, subject := range subjects {
		var out []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10.3s", "%w", "%!"} {
			out = append(out, fmt.Sprintf(verb, subject))
		}
		out = append(out, fmt.Sprint(subject), fmt.Errorf("%w", fmt.Errorf("%v", subject)).Error())
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", subject)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", subject)
		out = append(out, log.String())
		if b, err := json.Marshal(subject); err == nil {
			out = append(out, string(b))
		}
		for _, got := range out {
			// As text, as fmt prints bytes, in hex, and with a cut.
			for _, leak := range []string{"hun", "104 117 110", "68756e", "68756E", "0x68, 0x75"} {
				if strings.Contains(got, leak) {
					t.Errorf("%s printed as %q contains %q", name, got, leak)
				}
			}
		}
	}
	if got, want := fmt.Sprintf("%v %+v %#v %d", value, value, value, value), "REDACTED REDACTED REDACTED REDACTED"; got != want {
		t.Errorf("secret printed as %q, want %q", got, want)
	}
	if got, _ := json.Marshal(s.Value); string(got) != `"REDACTED"` {
		t.Errorf("secret as JSON = %s", got)
	}
	if got := value.LogValue().String() + value.String() + value.GoString(); got != "REDACTEDREDACTEDREDACTED" {
		t.Errorf("LogValue, String and GoString = %q", got)
	}
}

func TestNewFailsClosed(t *testing.T) {
	f := func(s signature.Scheme, secrets []signature.Secret, want ...string) {
		t.Helper()
		v, err := signature.New(s, secrets, 0)
		if diff := cmp.Diff(want, problems(t, err)); v != nil || diff != "" {
			t.Errorf("New(%s, %v) = %v (-want +got):\n%s", s.Name, secrets, v, diff)
		}
	}
	texts := func(texts ...string) (list []signature.Secret) {
		for _, text := range texts {
			list = append(list, secret(text))
		}
		return list
	}
	base64Key, hexKey := plain, plain
	base64Key.Key, hexKey.Key = signature.KeyBase64, signature.KeyHex

	f(plain, nil, "secrets: there is none, so nothing could be verified")
	f(plain, []signature.Secret{{}}, "secrets[0]: it is empty")
	f(plain, texts("good", ""), "secrets[1]: it is empty")
	f(plain, texts("from a file\n"), "secrets[0]: it begins or ends with a line break, which is hardly part of it")
	f(plain, make([]signature.Secret, signature.MaxSecrets+1),
		"secrets: 17 are too many: each may cost a pass over the body, at most 16 are allowed")
	f(hexKey, texts("abc", "zz", "00ff "), "secrets[0]: it is not hex", "secrets[1]: it is not hex", "secrets[2]: it is not hex")
	f(base64Key, texts("AAA", "AA-_", "AAB=", "AA\nAA", whsec),
		"secrets[0]: it is not padded base64", "secrets[1]: it is not padded base64", "secrets[2]: it is not padded base64",
		"secrets[3]: it is not padded base64", "secrets[4]: it is not padded base64")
	f(standard, texts("whsec_", "whsec_AAAA", "whsec_"+strings.Repeat("AAAA", 8)+"AA==", "whsec_"+strings.Repeat("AAAA", 21)+"AAA=", "whsec_not base64"),
		"secrets[0]: the key in it is empty",
		"secrets[1]: the key in it has 3 bytes, and standard needs at least 24",
		"secrets[3]: the key in it has 65 bytes, and standard allows at most 64",
		"secrets[4]: it is not padded base64")

	with := func(id, text string) signature.Secret {
		s := secret(text)
		s.ID = id
		return s
	}
	f(plain, []signature.Secret{with("a b", "x")}, `secrets[0].id: "a b" does not match [A-Za-z0-9._-]{1,64}`)
	f(plain, []signature.Secret{with(strings.Repeat("a", 65), "x")}, `secrets[0].id: "`+strings.Repeat("a", 65)+`" does not match [A-Za-z0-9._-]{1,64}`)
	f(plain, []signature.Secret{with("a", "x"), with("a", "y")}, `secrets[1].id: "a" is another secret's already`)
	late := secret("x")
	late.NotBefore, late.NotAfter = epoch, epoch.Add(-time.Second)
	f(plain, []signature.Secret{late}, "secrets[0].not_after: it ends before it begins")

	// Everything at once, the scheme's own problems included.
	f(signature.Scheme{Name: "x", Header: "h", Key: 9}, []signature.Secret{{}},
		"key: unknown key format 9", "signed: {body} is missing: anybody could change what is not signed", "secrets[0]: it is empty")
	if v, err := signature.New(plain, texts("x"), -1); v != nil || err == nil || err.Error() != "tolerance: -1ns is negative" {
		t.Errorf("New with a negative tolerance = %v, %v", v, err)
	}
}

// TestNewKeepsNoSlice: what New was given may change afterwards.
func TestNewKeepsNoSlice(t *testing.T) {
	s := labelled
	s.Signed = signature.MustMessage("{ts}.{body}")
	secrets := []signature.Secret{secret("s")}
	v, err := signature.New(s, secrets, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Signed[1].Text, secrets[0] = "!", secret("other")
	r := request("b", "Acme-Signature", "t=1716436939,v1="+hexMAC("s", "1716436939.b"))
	if _, err := v.Verify(r, epoch); err != nil {
		t.Errorf("Verify after the arguments changed = %v, want accepted", err)
	}
}

func TestKeyFormats(t *testing.T) {
	f := func(format signature.KeyFormat, text, key string) {
		t.Helper()
		s := plain
		s.Key = format
		v := newVerifier(t, s, text)
		if _, err := v.Verify(request("b", s.Header, "sha256="+hexMAC(key, "b")), epoch); err != nil {
			t.Errorf("Verify with %s key %q = %v, want accepted", format, text, err)
		}
	}
	f(signature.KeyText, "whsec_AAAA", "whsec_AAAA")
	f(signature.KeyText, " a b ", " a b ")
	f(signature.KeyBase64, "AP8=", "\x00\xff")
	f(signature.KeyHex, "00fF", "\x00\xff")
	f(signature.KeyWhsec, "whsec_AP8=", "\x00\xff")
	f(signature.KeyWhsec, "AP8=", "\x00\xff")
}

func TestSecretIDs(t *testing.T) {
	named := secret("b")
	named.ID = "2024.q1"
	again := secret("a")
	again.NotBefore = epoch
	v, err := signature.New(plain, []signature.Secret{secret("a"), named, again}, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The first one must never change: records in topics have it.
	if diff := cmp.Diff([]string{"53e67821", "2024.q1"}, v.SecretIDs()); diff != "" {
		t.Errorf("SecretIDs() (-want +got):\n%s", diff)
	}
	// It follows from the key, not from how the secret is written.
	with, without := newVerifier(t, standard, whsec).SecretIDs(), newVerifier(t, standard, key24).SecretIDs()
	if with[0] != without[0] {
		t.Errorf("SecretIDs() = %v with whsec_ and %v without, want the same", with, without)
	}
}

func TestSecretTimes(t *testing.T) {
	const hour = time.Hour
	span := func(text string, from, to time.Time) signature.Secret {
		return signature.Secret{ID: text, Value: signature.NewSecretValue(text), NotBefore: from, NotAfter: to}
	}
	old := span("old", time.Time{}, epoch.Add(hour))
	current := span("current", epoch, epoch.Add(2*hour))
	v, err := signature.New(plain, []signature.Secret{old, current}, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := func(key string, now time.Time, want signature.Reason) {
		t.Helper()
		r := request("b", plain.Header, "sha256="+hexMAC(key, "b"))
		if want != 0 {
			wantReason(t, v, r, now, want)
		} else if got, err := v.Verify(r, now); err != nil || got.SecretID != key {
			t.Errorf("Verify(signed with %s) at %v = %+v, %v, want accepted", key, now, got, err)
		}
	}
	f("old", epoch.Add(-1000*hour), 0)
	f("old", epoch.Add(hour), 0)
	f("old", epoch.Add(hour+1), signature.BadSignature)
	f("current", epoch.Add(-1), signature.BadSignature)
	f("current", epoch, 0)
	f("current", epoch.Add(2*hour), 0)
	f("current", epoch.Add(2*hour+1), signature.NoValidSecret)

	signedWith := func(now time.Time, want string) {
		t.Helper()
		fields, err := v.Sign(request("b"), "", now)
		if err != nil || string(fields[0].Value) != "sha256="+hexMAC(want, "b") {
			t.Errorf("Sign at %v = %v, want one signed with %s", now, err, want)
		}
	}
	signedWith(epoch.Add(-1), "old")
	signedWith(epoch, "current")
	signedWith(epoch.Add(2*hour), "current")
	if _, err := v.Sign(request("b"), "", epoch.Add(3*hour)); !errors.Is(err, signature.ErrNoValidSecret) {
		t.Errorf("Sign after all secrets = %v, want %v", err, signature.ErrNoValidSecret)
	}
}

func TestSign(t *testing.T) {
	// Among equals the first secret signs, as lists have the newest first.
	v := newVerifier(t, standard, whsec, whsecOld)
	fields, err := v.Sign(request("body"), "msg_1", epoch)
	if err != nil {
		t.Fatal(err)
	}
	want := request("body",
		"webhook-timestamp", "1716436939", "webhook-id", "msg_1",
		"webhook-signature", "v1,"+base64MAC(decodeBase64(t, key24), "msg_1.1716436939.body"))
	if diff := cmp.Diff(want.Fields, fields); diff != "" {
		t.Errorf("Sign (-want +got):\n%s", diff)
	}
	zoned := standard
	zoned.Timestamp.Unit = signature.RFC3339
	fields, err = newVerifier(t, zoned, whsec).Sign(request("body"), "msg_1", epoch.In(time.FixedZone("", 3600)))
	if want := "2024-05-23T04:02:19Z"; err != nil || string(fields[0].Value) != want {
		t.Errorf("Sign in another zone = %s, %v, want %s", fields[0].Value, err, want)
	}
	// Each algorithm in each encoding, against the formula.
	encodings := []func([]byte) string{hex.EncodeToString, base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString}
	for a := signature.SHA256; a <= signature.SHA512; a++ {
		for e, encode := range encodings {
			s := plain
			s.Algorithm, s.Encoding = a, signature.Encoding(e)
			want := "sha256=" + encode(mac(newHash(a), "key", "body"))
			if got, err := newVerifier(t, s, "key").Sign(request("body"), "", epoch); err != nil || string(got[0].Value) != want {
				t.Errorf("Sign with %s in %s = %s, %v, want %s", a, s.Encoding, got, err, want)
			}
		}
	}
	for _, id := range []string{"", "a.b", "a\nb", "é"} {
		if got, err := v.Sign(request("body"), id, epoch); err == nil {
			t.Errorf("Sign with ID %q = %v, want an error", id, got)
		}
	}
	if got, err := v.Sign(request("body"), "id", time.Time{}); err == nil {
		t.Errorf("Sign in the year 1 = %v, want an error", got)
	}
}
