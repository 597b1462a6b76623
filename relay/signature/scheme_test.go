package signature_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hooklog/relay/signature"
)

// problems lists what is wrong, "field: problem" each, and fails if one of
// the errors does not know its field.
func problems(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error %q is not joined", err)
	}
	var list []string
	for _, err := range joined.Unwrap() {
		var f interface{ Field() string }
		if !errors.As(err, &f) || !strings.HasPrefix(err.Error(), f.Field()+": ") {
			t.Errorf("error %q does not begin with its field", err)
		}
		list = append(list, err.Error())
	}
	return list
}

func TestValidate(t *testing.T) {
	for _, s := range []signature.Scheme{plain, labelled, standard} {
		if err := s.Validate(); err != nil {
			t.Errorf("Validate(%s) = %v, want nil", s.Name, err)
		}
	}
	f := func(base signature.Scheme, change func(*signature.Scheme), want ...string) {
		t.Helper()
		change(&base)
		if diff := cmp.Diff(want, problems(t, base.Validate())); diff != "" {
			t.Errorf("Validate(%+v) (-want +got):\n%s", base, diff)
		}
	}
	type S = *signature.Scheme
	msg := signature.MustMessage

	f(signature.Scheme{}, func(S) {},
		`name: a scheme needs a name`,
		`header: "" is not a header name`,
		`signed: {body} is missing: anybody could change what is not signed`)
	f(plain, func(s S) { s.Algorithm, s.Encoding, s.Key = 4, 3, 4 },
		"algorithm: unknown algorithm 4", "encoding: unknown encoding 3", "key: unknown key format 4")
	f(plain, func(s S) { s.MinKey, s.MaxKey = 3, 2 }, "key: no length is at least 3 and at most 2 bytes")
	f(plain, func(s S) { s.MinKey = -1 }, "key: no length is at least -1 and at most 0 bytes")
	f(plain, func(s S) { s.Tolerance = -1 }, "tolerance: -1ns is negative")
	f(plain, func(s S) { s.Header = "X Signature" }, `header: "X Signature" is not a header name`)
	f(plain, func(s S) { s.Header = "X-Signatur\u0435" }, `header: "X-Signaturе" is not a header name`)
	f(plain, func(s S) { s.Prefix = "a\nb" }, `prefix: "a\nb" has characters that a header cannot carry`)

	f(standard, func(s S) { s.ID = "a:b" }, `id: "a:b" is not a header name`)
	f(standard, func(s S) { s.ID = "Webhook-Signature" }, "id: Webhook-Signature is the header of the signature")
	f(standard, func(s S) { s.ID = "" }, "id: {id} is signed, but it is not said which header has the ID")
	f(standard, func(s S) { s.Timestamp = signature.Timestamp{} }, "timestamp: {ts} is signed, but it is not said where the timestamp stands")
	f(standard, func(s S) { s.Timestamp.Header = "é" }, `timestamp: "é" is not a header name`)
	f(standard, func(s S) { s.Timestamp.Header = "Webhook-ID" }, "timestamp: Webhook-ID has another use already")
	f(standard, func(s S) { s.Timestamp.Unit = 3 }, "timestamp: unknown unit 3")
	f(standard, func(s S) { s.Signed = msg("{body}") },
		"signed: {ts} is missing: a timestamp that is not signed proves nothing",
		"signed: {id} is missing, though a header for it is named")
	f(standard, func(s S) { s.Signed = msg("{id}{ts}.{body}") },
		"signed: nothing stands between {id} and {ts}: bytes could be moved from one to the other under the same signature")
	f(standard, func(s S) { s.Signed = msg("{ts}{body}{id}") },
		"signed: nothing stands between {body} and {id}: bytes could be moved from one to the other under the same signature")
	f(standard, func(s S) { s.Signed = msg("{id}{url}{ts}{body}") })
	f(plain, func(s S) { s.Signed = msg("{body}{body}") }, "signed: {body} occurs more than once")
	f(plain, func(s S) { s.Signed = append(msg("{body}"), signature.Part{Kind: 7}) }, "signed: unknown part 7")
	f(plain, func(s S) { s.Signed = signature.Message{{Kind: signature.PartBody, Text: "x"}} }, "signed: {body} has a text of its own")

	f(labelled, func(s S) { s.List.Separator = "" }, "list: a list needs a separator")
	f(labelled, func(s S) { s.List.Assign = "" },
		"list: a label and what stands behind it need each other", `timestamp: label "t" needs a list with labels`)
	f(labelled, func(s S) { s.List.Assign = "," }, `list: "," cannot both separate elements and end a label`)
	f(labelled, func(s S) { s.List.Label = "v=1" }, `list: label "v=1" contains what ends it`)
	f(labelled, func(s S) { s.List.Label = "v\x00" }, "list: it has characters that a header cannot carry")
	f(labelled, func(s S) { s.List.Separator = "b" }, `list: "b" can be part of a signature, so it cannot separate them`)
	f(labelled, func(s S) { s.Prefix = "a,b" }, `list: "," can be part of a signature, so it cannot separate them`)
	f(labelled, func(s S) { s.Timestamp.Label = "v1" }, `timestamp: label "v1" is that of the signatures`)
	f(labelled, func(s S) { s.Timestamp.Label = "t=" }, `timestamp: label "t=" cannot stand in the list`)
	f(labelled, func(s S) { s.Timestamp.Header = "X-Time" }, "timestamp: it stands in a header or in the list, not in both")
	f(labelled, func(s S) { s.List.Separator, s.Timestamp.Unit = ":", signature.RFC3339 }, `timestamp: ":" can be part of it, so it cannot separate elements`)
	f(plain, func(s S) { s.Timestamp.Label, s.Signed = "t", msg("{ts}.{body}") }, `timestamp: label "t" needs a list with labels`)
}

func TestParseMessage(t *testing.T) {
	f := func(template string, want ...signature.Part) {
		t.Helper()
		got, err := signature.ParseMessage(template)
		if diff := cmp.Diff(signature.Message(want), got); err != nil || diff != "" {
			t.Errorf("ParseMessage(%q) = %v, %v (-want +got):\n%s", template, got, err, diff)
		}
		if got.String() != template {
			t.Errorf("ParseMessage(%q).String() = %q", template, got)
		}
	}
	literal := func(text string) signature.Part { return signature.Part{Text: text} }
	f("{body}", signature.Part{Kind: signature.PartBody})
	f("{id}.{ts}.{body}", signature.Part{Kind: signature.PartID}, literal("."), signature.Part{Kind: signature.PartTimestamp}, literal("."), signature.Part{Kind: signature.PartBody})
	f("{method}{url}{target}", signature.Part{Kind: signature.PartMethod}, signature.Part{Kind: signature.PartURL}, signature.Part{Kind: signature.PartTarget})
	f("v0:\n{ts}:", literal("v0:\n"), signature.Part{Kind: signature.PartTimestamp}, literal(":"))
	f("{{{body}}}", literal("{"), signature.Part{Kind: signature.PartBody}, literal("}"))
	f("{{body}}", literal("{body}"))

	bad := func(template, want string) {
		t.Helper()
		got, err := signature.ParseMessage(template)
		if err == nil || err.Error() != want {
			t.Errorf("ParseMessage(%q) = %v, %v, want %q", template, got, err, want)
		}
	}
	bad("", `template is empty: "{body}" signs the body alone`)
	bad("{ts}.{boddy}", `template "{ts}.{boddy}": unknown part {boddy} at 6: it is one of {body}, {ts}, {id}, {method}, {url} or {target}`)
	bad("{Body}", `template "{Body}": unknown part {Body} at 1: it is one of {body}, {ts}, {id}, {method}, {url} or {target}`)
	bad("{}", `template "{}": unknown part {} at 1: it is one of {body}, {ts}, {id}, {method}, {url} or {target}`)
	bad("a{body", `template "a{body": "{" at 2 is not closed (a brace that means itself is doubled)`)
	bad("{body}}", `template "{body}}": "}" at 7 opens nothing (a brace that means itself is doubled)`)
}

func TestNames(t *testing.T) {
	check(t, signature.ParseAlgorithm, []string{"sha256", "sha1", "sha384", "sha512"},
		`unknown algorithm "SHA": it is one of sha256, sha1, sha384, sha512`)
	check(t, signature.ParseEncoding, []string{"hex", "base64", "base64url"},
		`unknown encoding "SHA": it is one of hex, base64, base64url`)
	check(t, signature.ParseUnit, []string{"s", "ms", "rfc3339"}, `unknown unit "SHA": it is one of s, ms, rfc3339`)
	check(t, signature.ParseKeyFormat, []string{"text", "base64", "hex", "whsec"},
		`unknown key format "SHA": it is one of text, base64, hex, whsec`)
}

func check[E interface {
	~uint8
	String() string
}](t *testing.T, parse func(string) (E, error), names []string, want string) {
	t.Helper()
	for i, name := range names {
		if got, err := parse(name); err != nil || got != E(i) || got.String() != name {
			t.Errorf("parse(%q) = %d (%s), %v, want %d", name, got, got, err, i)
		}
	}
	if got := E(len(names)).String(); slices.Contains(names, got) || !strings.Contains(got, "(") {
		t.Errorf("String of one too many = %q", got)
	}
	if got, err := parse("SHA"); err == nil || err.Error() != want {
		t.Errorf("parse(SHA) = %v, %v, want %q", got, err, want)
	}
}
