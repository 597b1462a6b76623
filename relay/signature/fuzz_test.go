package signature_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hooklog/relay/signature"
)

var fuzzSchemes = []signature.Scheme{plain, labelled, standard}

func FuzzScan(f *testing.F) {
	const hex64 = "9a5a177216e3f4416ba5efdeef6fdc212d226d0afc390f9cb9f56477deb9a5c3"
	const base44 = "dmxbdFCXTWy1Szi9tpYWcETBbRCtV4lPPKczpznK5dk="
	f.Add(byte(0), []byte("sha256="+hex64))
	f.Add(byte(1), []byte("t=1716436936,v1="+hex64+",v0="+hex64))
	f.Add(byte(2), []byte("v2,x v1,"+base44+" v1a,y v1,"+base44))
	f.Fuzz(func(t *testing.T, scheme byte, value []byte) {
		s := fuzzSchemes[int(scheme)%len(fuzzSchemes)]
		before := bytes.Clone(value)
		signatures, timestamp, reason := signature.Scan(&s, value)
		if !bytes.Equal(before, value) {
			t.Fatalf("Scan(%q) changed it into %q", before, value)
		}
		if reason == 0 && (len(signatures) == 0 || s.Timestamp.Label != "" && len(timestamp) == 0) {
			t.Fatalf("Scan(%q) = %q, %q, want a signature and a timestamp where there is no reason", value, signatures, timestamp)
		}
		for _, got := range signatures {
			if (len(got) != 64 && len(got) != 44) || bytes.ContainsAny(got, ", ") || !bytes.Contains(value, got) {
				t.Fatalf("Scan(%q) found %q, which is no signature", value, got)
			}
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range fuzzSchemes {
		f.Add(s.Signed.String())
	}
	f.Add("{{{body}}}")
	f.Add("{method}{url}{target}\n{")
	f.Fuzz(func(t *testing.T, template string) {
		m, err := signature.ParseMessage(template)
		if err != nil {
			return
		}
		if m.String() != template || len(m) == 0 {
			t.Fatalf("ParseMessage(%q) = %q", template, m)
		}
		s := plain
		s.Signed = m
		_ = s.Validate() // Must not panic, whatever is signed.
	})
}

// FuzzVerify builds requests out of arbitrary pieces, with the word SIG
// replaced by a true signature over the pieces, and holds each acceptance
// against a second, naive reading of the request.
func FuzzVerify(f *testing.F) {
	const good = int64(1716436939)
	f.Add(byte(0), "sha256=SIG", "", "", []byte("Hello, World!"), good)
	f.Add(byte(1), "t=1716436936,v1=SIG,v0=x", "1716436936", "", []byte(`{"id":1}`), good)
	f.Add(byte(1), "t=1716436936,t=1,v1=x,v1=SIG", "1716436936", "", []byte(`{"id":1}`), good)
	f.Add(byte(2), "v1,SIG v1a,x", "1716436936", "msg_1", []byte(`{"type":"a"}`), good)
	f.Add(byte(2), "v1,SIG", "1716436936", "msg.1716436936", []byte(""), good)
	f.Add(byte(2), "v1,SIG", "1716436000", "msg_1", []byte("stale"), good)
	keys := []string{"text key", "whsec_text", decodeBase64(f, key24)}
	verifiers := []*signature.Verifier{
		newVerifier(f, plain, "no", keys[0]), newVerifier(f, labelled, "no", keys[1]), newVerifier(f, standard, whsecOld, whsec),
	}
	f.Fuzz(func(t *testing.T, which byte, header, timestamp, id string, body []byte, now int64) {
		i := int(which) % len(fuzzSchemes)
		s, v, key := fuzzSchemes[i], verifiers[i], keys[i]
		text := strings.NewReplacer("{id}", id, "{ts}", timestamp, "{body}", string(body)).Replace(s.Signed.String())
		sig := hexMAC(key, text)
		if s.Encoding == signature.Base64 {
			sig = base64MAC(key, text)
		}
		r := request(string(body), "X-Other", "1", s.Header, strings.ReplaceAll(header, "SIG", sig))
		if s.ID != "" {
			r.Fields = append(r.Fields, request("", s.ID, id, s.Timestamp.Header, timestamp).Fields...)
		}
		got, err := v.Verify(r, time.Unix(now, 0))
		var e *signature.Error
		if err != nil && (!errors.As(err, &e) || e.Code() == "") {
			t.Fatalf("Verify(%s) = %v, want an *Error", show(r), err)
		}
		if err == nil && (got.SecretID != v.SecretIDs()[1] || !signedNaively(s, r, key, now)) {
			t.Fatalf("Verify(%s) at %d accepted what is not signed: %+v", show(r), now, got)
		}
		// The other direction, where there is no doubt what was meant.
		plainly := s.Prefix + sig
		if s.List.Assign != "" {
			plainly = s.List.Label + s.List.Assign + sig
		}
		if s.Timestamp.Label != "" {
			plainly = "t=" + timestamp + "," + plainly
		}
		canonical := timestamp == "" && s.Timestamp.IsZero() || timestamp == "1716436936"
		if r.Fields[1].Value = []byte(plainly); canonical && now == good && (s.ID == "" || id != "" && !strings.Contains(id, ".")) {
			if _, err := v.Verify(r, time.Unix(now, 0)); err != nil {
				t.Fatalf("Verify(%s) at %d = %v, want accepted", show(r), now, err)
			}
		}
	})
}

// signedNaively reports whether one of the texts in the signature header is a
// right signature, and the timestamp within the tolerance. It knows the three
// schemes by heart and shares nothing with the package.
func signedNaively(s signature.Scheme, r *signature.Request, key string, now int64) bool {
	header := string(r.Fields[1].Value)
	near := func(text string) bool {
		sec, err := time.ParseDuration(text + "s")
		off := time.Unix(now, 0).Sub(time.Unix(0, 0)) - sec
		return err == nil && off.Abs() <= 5*time.Minute
	}
	switch s.Name {
	case "plain":
		return header == "sha256="+hexMAC(key, string(r.Body))
	case "labelled":
		var ts string
		for element := range strings.SplitSeq(header, ",") {
			if text, ok := strings.CutPrefix(element, "t="); ok {
				ts = text
			}
		}
		return near(ts) && slices.Contains(strings.Split(header, ","), "v1="+hexMAC(key, ts+"."+string(r.Body)))
	default:
		id, ts := string(r.Fields[2].Value), string(r.Fields[3].Value)
		return near(ts) && slices.Contains(strings.Split(header, " "), "v1,"+base64MAC(key, id+"."+ts+"."+string(r.Body)))
	}
}
