package signature_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hooklog/relay/signature"
)

func TestVerifyPlain(t *testing.T) {
	v := newVerifier(t, plain, "new secret", "It's a Secret to Everybody")
	// GitHub's published example.
	const good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	got, err := v.Verify(request("Hello, World!", "x-signature-256", good), epoch)
	if want := (signature.Result{SecretID: v.SecretIDs()[1]}); err != nil || got != want {
		t.Errorf("Verify(published example) = %+v, %v, want %+v", got, err, want)
	}

	f := func(value string, want signature.Reason) {
		t.Helper()
		wantReason(t, v, request("Hello, World!", "X-Signature-256", value), epoch, want)
	}
	f("", signature.MissingSignature)
	f("sha256=", signature.MalformedSignature)
	f(good[len("sha256="):], signature.MalformedSignature)
	f("sha1="+good[len("sha256="):], signature.MalformedSignature)
	f("SHA256="+good[len("sha256="):], signature.MalformedSignature)
	f("sha256="+strings.ToUpper(good[len("sha256="):]), signature.MalformedSignature)
	f(good[:len(good)-1], signature.MalformedSignature)
	f(good[:len(good)-2], signature.MalformedSignature)
	f(good+"0", signature.MalformedSignature)
	f(good+" ", signature.MalformedSignature)
	f(" "+good, signature.MalformedSignature)
	f(good+","+good, signature.MalformedSignature)
	f(good[:len(good)-1]+"8", signature.BadSignature)

	wantReason(t, v, request("Hello, World!"), epoch, signature.MissingSignature)
	wantReason(t, v, request("Hello, World"), epoch, signature.MissingSignature)
	wantReason(t, v, request("Hello, World!", "X-Signature", good), epoch, signature.MissingSignature)
	wantReason(t, v, request("Hello, World!\n", "X-Signature-256", good), epoch, signature.BadSignature)
	wantReason(t, v, request("Hello, World!", "X-Signature-256", good, "x-signature-256", good), epoch, signature.DuplicateHeader)
}

func TestHeader(t *testing.T) {
	r := request("", "X-Key", "1", "x-KEY", "2", "x-key-2", "3", "x-\u212aey", "4", "", "5")
	f := func(name, want string, wantN int) {
		t.Helper()
		if got, n := r.Header(name); string(got) != want || n != wantN {
			t.Errorf("Header(%q) = %q, %d, want %q, %d", name, got, n, want, wantN)
		}
	}
	f("x-key", "1", 2)
	f("X-Key-2", "3", 1)
	f("x-\u212aEY", "4", 1) // The Kelvin sign, which Unicode folds to a k.
	f("x-kez", "", 0)
	f("x{key", "", 0)
	f("", "5", 1)
}

func TestVerifyLabelled(t *testing.T) {
	const body = `{"id":"evt_1"}`
	v := newVerifier(t, labelled, "whsec_current", "whsec_old")
	sig := hexMAC("whsec_current", "1716436936."+body)
	old := hexMAC("whsec_old", "1716436936."+body)
	other := hexMAC("whsec_neither", "1716436936."+body)

	accept := func(value string, id int) {
		t.Helper()
		got, err := v.Verify(request(body, "acme-signature", value), epoch)
		want := signature.Result{SecretID: v.SecretIDs()[id], Timestamp: time.Unix(1716436936, 0).UTC()}
		if err != nil || got != want {
			t.Errorf("Verify(%s) = %+v, %v, want %+v", value, got, err, want)
		}
	}
	accept("t=1716436936,v1="+sig, 0)
	accept("t=1716436936,v1="+old, 1)
	accept("v1="+sig+",t=1716436936", 0)
	accept("t=1716436936,v1="+other+",v1="+old, 1)
	accept("t=1716436936,v1="+sig+",v0="+other, 0)
	accept("t=1716436936,v1=,v1="+sig, 0)
	accept("t,t=1716436936,v1="+sig, 0)
	accept("t=1716436936,,x,v12=1,"+"=,v1="+sig+",", 0)
	accept("t=1716436936"+strings.Repeat(",v1="+other, signature.MaxSignatures-1)+",v1="+sig, 0)

	f := func(value string, want signature.Reason) {
		t.Helper()
		wantReason(t, v, request(body, "Acme-Signature", value), epoch, want)
	}
	f(",", signature.MissingSignature)
	f("t=1716436936", signature.MissingSignature)
	f("t=1716436936,v1", signature.MissingSignature)
	f("t=1716436936,v0="+sig, signature.MissingSignature)
	f("t=1716436936,v1"+sig, signature.MissingSignature)
	f("t=1716436936, v1="+sig, signature.MissingSignature)
	f("t=1716436936,V1="+sig, signature.MissingSignature)
	f("t=1716436936,v12="+sig, signature.MissingSignature)
	f("t=1716436936,v="+sig, signature.MissingSignature)
	f("t=1716436936,v1=", signature.MalformedSignature)
	f("t=1716436936,v1= "+sig, signature.MalformedSignature)
	f("t=1716436936,v1="+sig+" ", signature.MalformedSignature)
	f("t=1716436936;v1="+sig, signature.MissingSignature)
	f("t=1716436936,v1="+other, signature.BadSignature)
	f("v1="+sig, signature.MissingTimestamp)
	f("t=,v1="+sig, signature.MissingTimestamp)
	f("t=1716436936,t=1716436936,v1="+sig, signature.DuplicateTimestamp)
	f("t=1716436937,v1="+sig, signature.BadSignature)
	f("t=1716436936"+strings.Repeat(",v1="+other, 16)+",v1="+sig, signature.TooManySignatures)
	f("t=1716436936"+strings.Repeat(",v1=x", 10_000)+",v1="+sig, signature.TooManySignatures)

	// Other spellings of the number are refused, signed or not.
	for _, ts := range []string{"01716436936", "+1716436936", " 1716436936", "1716436936 ", "1716436936.0", "0x664EC1C8", "-1", "0", "1e9", "1716436936000000", "\u0661716436936"} {
		f("t="+ts+",v1="+hexMAC("whsec_current", ts+"."+body), signature.MalformedTimestamp)
	}
}

func TestVerifyStandard(t *testing.T) {
	const body = `{"test": 2432232314}`
	now := time.Unix(1614265330, 0)
	v := newVerifier(t, standard, whsec)
	// The test vector of the specification's own libraries.
	const good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	f := func(id, ts, sig string, want signature.Reason) {
		t.Helper()
		r := request(body, "webhook-id", id, "webhook-timestamp", ts, "webhook-signature", sig)
		if want != 0 {
			wantReason(t, v, r, now, want)
		} else if _, err := v.Verify(r, now); err != nil {
			t.Errorf("Verify(%s) = %v, want accepted", show(r), err)
		}
	}
	const id, ts = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
	f(id, ts, good, 0)
	f(id, ts, "v2,x v1a,y "+good+" v1,z", 0)
	f(id, ts, "v1 "+good, 0)
	f(id, ts, good[3:], signature.MissingSignature)
	f(id, ts, "v2"+good[2:], signature.MissingSignature)
	f(id, ts, strings.Replace(good, ",", "=", 1), signature.MissingSignature)
	f(id, ts, strings.TrimSuffix(good, "="), signature.MalformedSignature)
	f(id, ts, strings.NewReplacer("+", "-", "/", "_").Replace(good), signature.MalformedSignature)
	// The last digit before the padding has two bits to spare.
	f(id, ts, strings.Replace(good, "OE=", "OF=", 1), signature.BadSignature)
	f(id+"x", ts, good, signature.BadSignature)
	f("", ts, good, signature.MissingID)
	f(id, "", good, signature.MissingTimestamp)
	f(id, "1614265331", good, signature.BadSignature)

	// The same bytes under the same key, cut in another way.
	text := "msg.1614265330.1614265330.[]"
	sig := "v1," + base64MAC(decodeBase64(t, key24), text)
	wantReason(t, v, request("[]", "webhook-id", "msg.1614265330", "webhook-timestamp", "1614265330", "webhook-signature", sig), now, signature.AmbiguousText)

	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		fields := []string{"webhook-id", id, "webhook-timestamp", ts, "webhook-signature", good}
		twice := request(body, append(fields, strings.ToUpper(name), "x")...)
		wantReason(t, v, twice, now, signature.DuplicateHeader)
	}
	wantReason(t, v, request(body, "webhook-id", id, "webhook-signature", good), now, signature.MissingTimestamp)
	wantReason(t, v, request(body, "webhook-timestamp", ts, "webhook-signature", good), now, signature.MissingID)
}

func TestVerifyAge(t *testing.T) {
	signed := time.Unix(1_700_000_000, 0)
	f := func(tolerance, configured, off time.Duration, want signature.Reason) {
		t.Helper()
		scheme := labelled
		scheme.Tolerance = tolerance
		v, err := signature.New(scheme, []signature.Secret{secret("s")}, configured)
		if err != nil {
			t.Fatal(err)
		}
		r := request("b", "Acme-Signature", "t=1700000000,v1="+hexMAC("s", "1700000000.b"))
		if want != 0 {
			wantReason(t, v, r, signed.Add(off), want)
		} else if _, err := v.Verify(r, signed.Add(off)); err != nil {
			t.Errorf("Verify(%v off, tolerance %v, %v) = %v, want accepted", off, tolerance, configured, err)
		}
		// A forged request is forged whatever its age.
		r.Body = []byte("c")
		wantReason(t, v, r, signed.Add(off), signature.BadSignature)
	}
	f(0, 0, 0, 0)
	f(0, 0, 300*time.Second, 0)
	f(0, 0, 300*time.Second+1, signature.StaleTimestamp)
	f(0, 0, -300*time.Second, 0)
	f(0, 0, -300*time.Second-1, signature.FutureTimestamp)
	f(5*time.Second, 0, 5*time.Second, 0)
	f(5*time.Second, 0, 6*time.Second, signature.StaleTimestamp)
	f(5*time.Second, time.Minute, 6*time.Second, 0)
	f(5*time.Second, time.Second, 2*time.Second, signature.StaleTimestamp)
	f(0, 0, 1<<63-1, signature.StaleTimestamp)
	f(0, 0, -1<<63, signature.FutureTimestamp)
}

func TestVerifyUnits(t *testing.T) {
	f := func(unit signature.Unit, text string, want time.Time, ok bool) {
		t.Helper()
		if got, gotOK := signature.Parse(unit, []byte(text)); gotOK != ok || !got.Equal(want) {
			t.Errorf("parse %s %q = %v, %v, want %v, %v", unit, text, got, gotOK, want, ok)
		}
	}
	f(signature.Seconds, "1", time.Unix(1, 0), true)
	f(signature.Seconds, "999999999999999", time.Unix(999999999999999, 0), true)
	f(signature.Seconds, "1000000000000000", time.Time{}, false)
	f(signature.Seconds, "", time.Time{}, false)
	f(signature.Milliseconds, "1716436936123", time.UnixMilli(1716436936123), true)
	f(signature.Milliseconds, "00", time.Time{}, false)
	f(signature.RFC3339, "2024-05-23T04:02:16Z", time.Unix(1716436936, 0), true)
	f(signature.RFC3339, "2024-05-23T04:02:16.123456789Z", time.Unix(1716436936, 123456789), true)
	f(signature.RFC3339, "2024-05-23T06:02:16+02:00", time.Unix(1716436936, 0), true)
	for _, text := range []string{
		"", "2024-05-23", "2024-05-23 04:02:16Z", "2024-05-23T04:02:16", "2024-05-23T4:02:16Z", "2024-05-23T04:02:16,1Z",
		"2024-05-23T04:02:16z", "2024-05-23T24:02:16Z", "2024-05-23T04:02:16+24:00", "2024-05-23T04:02:16+00:60", "2024-02-30T04:02:16Z", " 2024-05-23T04:02:16Z", "1716436936",
		"2024-05-23T04:02:16.1234567890123Z", strings.Repeat("9", 1<<20),
	} {
		f(signature.RFC3339, text, time.Time{}, false)
	}
}

func TestVerifyURL(t *testing.T) {
	scheme := plain
	scheme.Prefix = ""
	scheme.Signed = signature.MustMessage("{method}{url}{body}")
	v := newVerifier(t, scheme, "s")
	if v.Scheme() != "plain" {
		t.Errorf("Scheme() = %q, want plain", v.Scheme())
	}
	if !v.SignsURL() || newVerifier(t, plain, "s").SignsURL() {
		t.Errorf("SignsURL() is wrong for %q or %q", scheme.Signed, plain.Signed)
	}
	r := request("b", "X-Signature-256", hexMAC("s", "POSThttps://example.com/h?x=1b"))
	r.URL = "https://example.com/h?x=1"
	if _, err := v.Verify(r, epoch); err != nil {
		t.Errorf("Verify(%s) = %v, want accepted", show(r), err)
	}
	r.URL = "https://example.com/h?x=2"
	wantReason(t, v, r, epoch, signature.BadSignature)
	r.URL = ""
	r.Fields[0].Value = []byte(hexMAC("s", "POSTb"))
	wantReason(t, v, r, epoch, signature.MissingURL)
}

// TestVerifyOtherCut holds the check against the overlaps that a search inside
// the value alone would miss.
func TestVerifyOtherCut(t *testing.T) {
	f := func(template, id string, refused bool) {
		t.Helper()
		scheme := plain
		scheme.Signed, scheme.ID = signature.MustMessage(template), "X-ID"
		v := newVerifier(t, scheme, "s")
		text := strings.NewReplacer("{id}", id, "{body}", "b").Replace(template)
		r := request("b", "X-ID", id, "X-Signature-256", "sha256="+hexMAC("s", text))
		if refused {
			wantReason(t, v, r, epoch, signature.AmbiguousText)
		} else if _, err := v.Verify(r, epoch); err != nil {
			t.Errorf("Verify(%s) with %q = %v, want accepted", show(r), template, err)
		}
	}
	f("{id}.{body}", "a", false)
	f("{id}.{body}", "a.", true)
	f("{id}.{body}", ".", true)
	f("{id}--{body}", "a-b", false)
	f("{id}--{body}", "a-", true)
	f("{body}--{id}", "-a", true)
	f("{id}::.{body}", "a:", false)
	f("{id}:.:{body}", "a:.", true)
	f("id={id}&{body}", "a=id=", false) // Nothing to move across "id=".
	f("{body}.{id}", "a.b", true)
	f("{id}"+strings.Repeat("-", 300)+"{body}", strings.Repeat("a", 300), false)
}

func TestVerifyConcurrent(t *testing.T) {
	v := newVerifier(t, standard, whsec, whsecOld)
	r := request("body")
	fields, err := v.Sign(r, "msg_1", epoch)
	if err != nil {
		t.Fatal(err)
	}
	r.Fields = fields
	bad := clone(r)
	bad.Body[0] ^= 1
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			for i := range 200 {
				own := request(strings.Repeat("x", i))
				own.Fields, _ = v.Sign(own, "msg_1", epoch)
				if _, err := v.Verify(own, epoch); err != nil {
					t.Errorf("Verify(own) = %v, want accepted", err)
				}
				if _, err := v.Verify(r, epoch); err != nil {
					t.Errorf("Verify(signed) = %v, want accepted", err)
				}
				if _, err := v.Verify(bad, epoch); err == nil {
					t.Error("Verify(changed) accepted it, want an error")
				}
			}
		})
	}
	g.Wait()
}

func TestZeroVerifierRefuses(t *testing.T) {
	var v signature.Verifier
	wantReason(t, &v, request("", "", ""), epoch, signature.NoValidSecret)
	if _, err := v.Sign(request(""), "id", epoch); !errors.Is(err, signature.ErrNoValidSecret) {
		t.Errorf("Sign with the zero Verifier = %v, want %v", err, signature.ErrNoValidSecret)
	}
}

// TestVerifyChangesNothing also covers that a refused request leaves no trace
// in the pool.
func TestVerifyChangesNothing(t *testing.T) {
	v := newVerifier(t, standard, whsec)
	r := request("body")
	r.Fields, _ = v.Sign(r, "msg_1", epoch)
	before := show(r)
	for range 3 {
		bad := clone(r)
		bad.Body = append(bad.Body, 'x')
		wantReason(t, v, bad, epoch, signature.BadSignature)
		if _, err := v.Verify(r, epoch); err != nil || show(r) != before {
			t.Errorf("Verify = %v and left %s, want accepted and %s", err, show(r), before)
		}
	}
}

// TestErrorsTellNothing: an error names the check, and neither what was
// expected nor what was sent.
func TestErrorsTellNothing(t *testing.T) {
	v := newVerifier(t, standard, whsec)
	want := base64.StdEncoding.EncodeToString(mac(sha256.New, decodeBase64(t, key24), "msg_1.1716436939.body"))
	r := request("body", "webhook-id", "msg_1", "webhook-timestamp", "1716436939", "webhook-signature", "v1,"+strings.Repeat("A", 43)+"=")
	_, err := v.Verify(r, epoch)
	if err == nil {
		t.Fatalf("Verify(%s) accepted it, want an error", show(r))
	}
	for _, part := range []string{want[:8], key24[:8], "AAAA"} {
		if strings.Contains(err.Error(), part) {
			t.Errorf("error %q contains %q", err, part)
		}
	}
}

func TestReasons(t *testing.T) {
	names := map[string]bool{}
	missing := []signature.Reason{signature.MissingSignature, signature.MissingTimestamp, signature.MissingID}
	stale := []signature.Reason{signature.StaleTimestamp, signature.FutureTimestamp}
	for r := signature.MissingSignature; r <= signature.NoValidSecret; r++ {
		want := signature.CodeBad
		if slices.Contains(missing, r) {
			want = signature.CodeMissing
		}
		if slices.Contains(stale, r) {
			want = signature.CodeStale
		}
		if names[r.String()] || r.Code() != want || r.Hint() == "" {
			t.Errorf("reason %d: name %q, code %q, hint %q; want a new name, code %s and a hint", r, r, r.Code(), r.Hint(), want)
		}
		names[r.String()] = true
		if e := (&signature.Error{Reason: r}).Error(); e == r.String() {
			t.Errorf("reason %v has no text", r)
		}
	}
	if r := signature.NoValidSecret + 1; r.Code() != signature.CodeBad || r.Hint() != "" || !strings.HasPrefix(r.String(), "reason(") {
		t.Errorf("reason %d = %q, code %q: want none, refused as %s", r, r, r.Code(), signature.CodeBad)
	}
	old := &signature.Error{Reason: signature.StaleTimestamp, Header: "X-T", Age: 361 * time.Second, Tolerance: 5 * time.Minute}
	if got, want := old.Error(), "X-T: the signature is genuine, but too old: it is 6m1s off, the tolerance is 5m0s"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}
