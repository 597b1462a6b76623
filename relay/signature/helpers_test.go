package signature_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"slices"
	"strings"
	"testing"
	"time"

	"hooklog/relay/signature"
)

// Three schemes that together use every feature which is common.
var (
	plain = signature.Scheme{
		Name:   "plain",
		Header: "X-Signature-256",
		Prefix: "sha256=",
		Signed: signature.MustMessage("{body}"),
	}
	labelled = signature.Scheme{
		Name:      "labelled",
		Header:    "Acme-Signature",
		List:      signature.List{Separator: ",", Assign: "=", Label: "v1"},
		Signed:    signature.MustMessage("{ts}.{body}"),
		Timestamp: signature.Timestamp{Label: "t"},
	}
	standard = signature.Scheme{
		Name:      "standard",
		Header:    "webhook-signature",
		List:      signature.List{Separator: " ", Assign: ",", Label: "v1"},
		Encoding:  signature.Base64,
		Signed:    signature.MustMessage("{id}.{ts}.{body}"),
		Timestamp: signature.Timestamp{Header: "webhook-timestamp"},
		ID:        "webhook-id",
		Key:       signature.KeyWhsec,
		MinKey:    24,
		MaxKey:    64,
	}
)

const (
	key24    = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	whsec    = "whsec_" + key24
	whsecOld = "whsec_AlIIN9Jekq2zJ5lNjH1qjYpHx4+zsHnl"
)

// epoch is when all tests happen, unless they are about time.
var epoch = time.Unix(1_716_436_939, 0)

func secret(text string) signature.Secret {
	return signature.Secret{Value: signature.NewSecretValue(text)}
}

func newVerifier(t testing.TB, s signature.Scheme, secrets ...string) *signature.Verifier {
	t.Helper()
	var list []signature.Secret
	for _, text := range secrets {
		list = append(list, secret(text))
	}
	v, err := signature.New(s, list, 0)
	if err != nil {
		t.Fatalf("New(%s) = %v, want a verifier", s.Name, err)
	}
	return v
}

// request has header fields given as name, value, name, value ...
func request(body string, fields ...string) *signature.Request {
	r := &signature.Request{Method: []byte("POST"), Target: []byte("/hooks/acme"), Body: []byte(body)}
	for i := 0; i < len(fields); i += 2 {
		r.Fields = append(r.Fields, signature.Field{Name: []byte(fields[i]), Value: []byte(fields[i+1])})
	}
	return r
}

func clone(r *signature.Request) *signature.Request {
	c := &signature.Request{
		Method: slices.Clone(r.Method), Target: slices.Clone(r.Target), URL: r.URL, Body: slices.Clone(r.Body),
	}
	for _, f := range r.Fields {
		c.Fields = append(c.Fields, signature.Field{Name: slices.Clone(f.Name), Value: slices.Clone(f.Value)})
	}
	return c
}

// mac is the formula, written down once more.
func mac(new func() hash.Hash, key, text string) []byte {
	h := hmac.New(new, []byte(key))
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexMAC(key, text string) string { return hex.EncodeToString(mac(sha256.New, key, text)) }

func base64MAC(key, text string) string {
	return base64.StdEncoding.EncodeToString(mac(sha256.New, key, text))
}

func decodeBase64(t testing.TB, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newHash(a signature.Algorithm) func() hash.Hash {
	switch a {
	case signature.SHA1:
		return sha1.New
	case signature.SHA384:
		return sha512.New384
	case signature.SHA512:
		return sha512.New
	case signature.SHA256:
	}
	return sha256.New
}

// wantReason fails unless the verifier refuses the request for that reason.
func wantReason(t testing.TB, v *signature.Verifier, r *signature.Request, now time.Time, want signature.Reason) {
	t.Helper()
	got, err := v.Verify(r, now)
	var e *signature.Error
	if !errors.As(err, &e) || e.Reason != want {
		t.Errorf("Verify(%s) at %d = %+v, %v, want reason %v", show(r), now.Unix(), got, err, want)
	}
	if got != (signature.Result{}) {
		t.Errorf("Verify(%s) = %+v beside an error, want no result", show(r), got)
	}
}

func show(r *signature.Request) string {
	var b strings.Builder
	for _, f := range r.Fields {
		b.WriteString(string(f.Name) + ": " + string(f.Value) + "; ")
	}
	return b.String() + "body " + string(r.Body[:min(len(r.Body), 100)])
}
