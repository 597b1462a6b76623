package signature_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"hooklog/relay/signature"
)

// signed2K returns a request as proxies deliver it, with a body of 2 KiB.
func signed2K(t testing.TB, v *signature.Verifier) *signature.Request {
	t.Helper()
	r := request(strings.Repeat("0123456789abcdef", 128),
		"Host", "hooks.example.com", "Content-Type", "application/json", "Content-Length", "2048", "User-Agent", "Acme/1.0",
		"Accept", "*/*", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "Via", "1.1 proxy")
	fields, err := v.Sign(r, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", epoch)
	if err != nil {
		t.Fatal(err)
	}
	r.Fields = append(r.Fields, fields...)
	return r
}

func TestVerifyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop at random under the race detector")
	}
	for _, s := range fuzzSchemes {
		secrets := []string{"x", "y"}
		if s.Key == signature.KeyWhsec {
			secrets = []string{whsec, whsecOld}
		}
		v := newVerifier(t, s, secrets...)
		r := signed2K(t, newVerifier(t, s, secrets[1]))
		if got := testing.AllocsPerRun(1000, func() {
			if _, err := v.Verify(r, epoch); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("Verify of an accepted request, %s: %v allocations, want 0", s.Name, got)
		}
		r.Body[0] ^= 1
		if got := testing.AllocsPerRun(1000, func() { _, _ = v.Verify(r, epoch) }); got > 1 {
			t.Errorf("Verify of a forged request, %s: %v allocations, want its error alone", s.Name, got)
		}
	}
}

// BenchmarkVerify has the bare hash of the same body beside it, the limit, and
// what one writes without a pool.
func BenchmarkVerify(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 128)
	b.Run("bare-sha256", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			sha256.Sum256(body)
		}
	})
	b.Run("bare-hmac", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		key := []byte("It's a Secret to Everybody")
		var sum [sha256.Size]byte
		for b.Loop() {
			h := hmac.New(sha256.New, key)
			h.Write(body)
			h.Sum(sum[:0])
		}
	})
	for _, s := range fuzzSchemes {
		text := "It's a Secret to Everybody"
		if s.Key == signature.KeyWhsec {
			text = whsec
		}
		v := newVerifier(b, s, text)
		good := signed2K(b, v)
		run := func(name string, r *signature.Request, ok bool) {
			b.Run(s.Name+name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(r.Body)))
				for b.Loop() {
					if _, err := v.Verify(r, epoch); (err == nil) != ok {
						b.Fatal(err)
					}
				}
			})
		}
		run("", good, true)
		forged := clone(good)
		forged.Body[0] ^= 1
		run("/forged", forged, false)
		if s.Name == "labelled" {
			flood := clone(good)
			last := &flood.Fields[len(flood.Fields)-1].Value
			*last = append(*last, strings.Repeat(",v1="+strings.Repeat("0", 64), 10_000)...)
			run("/10000-signatures", flood, false)
			unknown := clone(good)
			last = &unknown.Fields[len(unknown.Fields)-1].Value
			*last = append(*last, strings.Repeat(",v2=0", 10_000)...)
			run("/10000-unknown", unknown, true)
		}
	}
}

func BenchmarkVerifyParallel(b *testing.B) {
	v := newVerifier(b, standard, whsec)
	r := signed2K(b, v)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(r, epoch); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
