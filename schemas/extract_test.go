package schemas_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hooklog/schemas"
)

func headers(pairs ...string) schemas.Lookup {
	return func(name string) []byte {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return []byte(pairs[i+1])
			}
		}
		return nil
	}
}

func TestExtract(t *testing.T) {
	const none = "\x00none"
	f := func(separator, specs, body, want string) {
		t.Helper()
		x, err := schemas.ParseExtractor(separator, strings.Split(specs, " ")...)
		if err != nil {
			t.Errorf("ParseExtractor(%q): %v", specs, err)
			return
		}
		got, ok := x.Extract(headers("x-id", "h1", "x-empty", "", "x-type", "created"), []byte(body))
		if !ok {
			if got != "" {
				t.Errorf("%s in %s: %q, false; want the empty string", specs, short(body), got)
			}
			got = none
		}
		if got != want {
			t.Errorf("%s in %s: %q, want %q", specs, short(body), got, want)
		}
	}
	// Headers, hashes and several parts.
	f("", "header:X-Id", ``, "h1")
	f("", "header:x-id", `{}`, "h1")
	f("", "header:x-empty", `{}`, none)
	f("", "header:x-none", `{}`, none)
	f("", "sha256", ``, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f(":", "header:x-id body:id", `{"id":7}`, "h1:7")
	f(".", "header:x-type body:action", `{"action":"opened"}`, "created.opened")
	f(".", "header:x-type body:action", `{}`, none)
	f(":", "body:id header:x-empty", `{"id":7}`, none)
	// Names and indexes.
	f("", "body:id", `{"id":"evt_1"}`, "evt_1")
	f("", "body:data.object.id", `{"data":{"object":{"id":"in"}},"id":"out"}`, "in")
	f("", "body:events.0.id", `{"events":[{"id":"a"},{"id":"b"}]}`, "a")
	f("", "body:events.1.id", `{"events":[{"id":"a"},{"id":"b"}]}`, "b")
	f("", "body:events.2.id", `{"events":[{"id":"a"},{"id":"b"}]}`, none)
	f("", "body:0.id", `[{"id":"a"}]`, "a")
	f("", "body:1", `["a","b"]`, "b")
	f("", "body:0.0", `[["deep"]]`, "deep")
	f("", "body:-1", `["a"]`, none)
	f("", "body:id", `["id"]`, none)
	f("", "body:0", `{"0":"zero"}`, "zero")
	f("", "body:data.7.x", `{"data":{"7":{"x":"y"}}}`, "y")
	f("", "body:id.x", `{"id":"scalar"}`, none)
	f("", "body:id", `{"ID":"case"}`, none)
	f("", "body:id", "\ufeff { \"id\" :\r\n\"bom\"}", "bom")
	f("", "body:id", `{"nested":{"id":"no"},"id":"yes"}`, "yes")
	f("", "body:id", `{"text":"\"id\":\"no\"","id":"yes"}`, "yes")
	f("", "body:id", `{"id":"first","id":"second"}`, "first")
	f("", "body:id", `{"\u0069d":"escaped name"}`, "escaped name")
	// Values.
	f("", "body:n", `{"n":9007199254740993}`, "9007199254740993")
	f("", "body:n", `{"n":123456789012345678901234567890}`, "123456789012345678901234567890")
	f("", "body:n", `{"n":-1.50e+3 }`, "-1.50e+3")
	f("", "body:n", `{"n":0}`, "0")
	f("", "body:b", `{"b":true}`, "true")
	f("", "body:b", `{"b":false}`, "false")
	f("", "body:n", `{"n":null}`, none)
	f("", "body:n", `{"n":""}`, none)
	f("", "body:n", `{"n":{}}`, none)
	f("", "body:n", `{"n":[1]}`, none)
	f("", "body:n", `{}`, none)
	f("", "body:s", `{"s":"a\"\\\u00e9\n"}`, "a\"\\é\n")
	f("", "body:s", `{"s":"\ud83d\ude00"}`, "😀")
	f("", "body:s", `{"s":"日本"}`, "日本")
	// Characters that mean something in a query.
	for _, name := range []string{
		"*", "a*", "?", "a?b", "#", "#a", "a#", "|", "a|b", "@", "@this", "@reverse", "!", "!x", `\`, `a\b`, `\\`, "{", "{a}", "[", "[0]", "(", "#(a==b)",
		"=", "<", ">", "%", `"`, "'", "~", ":", ":2", "+1", "-", "$id", "a b", "日本", "é", "a,b", "&", "^", "\x7f", "\t", "..#"[2:],
	} {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(name, " ") {
			f("", "body:"+name, `{"other":"no",`+string(quoted)+`:"yes"}`, "yes")
			f("", "body:d."+name, `{"d":{"other":"no",`+string(quoted)+`:"yes"}}`, "yes")
			f("", "body:"+name+".id", `{`+string(quoted)+`:{"id":"yes"}}`, "yes")
			f("", "body:"+name, `{"a":"no","b":"no","id":"no"}`, none)
			f("", "body:"+name, `["no",{"id":"no","a":"no","b":"no"}]`, none)
			f("", "body:"+name+".id", `["no",{"id":"no"}]`, none)
		}
	}
	// No JSON.
	f("", "body:id", ``, none)
	f("", "body:id", `{`, none)
	f("", "body:id", `{"id"`, none)
	f("", "body:id", `{"id":`, none)
	f("", "body:id", `id=1&type=x`, none)
	f("", "body:id", "\xff\xfe\x00", none)
	f("", "body:id", `"id"`, none)
	f("", "body:id", `<xml id="1"/>`, none)
}

func TestExtractDeepJSON(t *testing.T) {
	x := schemas.MustExtractor("", "body:id")
	nested := schemas.MustExtractor("", "body:0.0.0.id")
	const mib = 1 << 20
	for name, body := range map[string]string{
		"open arrays":   repeat("[", mib),
		"open objects":  repeat(`{"a":`, mib/5),
		"closed arrays": repeat("[", mib/2) + repeat("]", mib/2),
		"then an id":    `{"a":` + repeat("[", mib/2) + repeat("]", mib/2) + `,"id":"x"}`,
		"open strings":  repeat(`["`, mib/2),
		"backslashes":   `{"` + repeat(`\`, mib),
		"commas":        "[" + repeat(",", mib),
	} {
		start := time.Now()
		x.Extract(nil, []byte(body))
		nested.Extract(nil, []byte(body))
		// It takes some milliseconds; quadratic work would take minutes.
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v for %d bytes", name, d, len(body))
		}
	}
	if got, ok := x.Extract(nil, []byte(`{"a":`+repeat("[", mib/2)+repeat("]", mib/2)+`,"id":"x"}`)); got != "x" || !ok {
		t.Errorf("id behind deep arrays: %q, %v; want x, true", got, ok)
	}
}

func TestParseExtractorRefuses(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		_, err := schemas.ParseExtractor("", spec)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strconv.Quote(spec)) {
			t.Errorf("ParseExtractor(%q) = %v, want an error with %q that quotes it", spec, err, want)
		}
	}
	f("", "none of header:NAME, body:PATH, sha256")
	f("id", "none of")
	f("query:id", "none of")
	f("Header:X", "none of")
	f("sha256:", "no argument")
	f("sha256:x", "no argument")
	f("header", "not a header name")
	f("header:", "not a header name")
	f("header:X Y", "not a header name")
	f("header:X:Y", "not a header name")
	f("header:Ä", "not a header name")
	f("body", "empty name")
	f("body:", "empty name")
	f("body:.", "empty name")
	f("body:a..b", "empty name")
	f("body:.a", "empty name")
	f("body:a.", "empty name")
	if _, err := schemas.ParseExtractor(":"); err == nil {
		t.Error("ParseExtractor without a spec = nil, want an error")
	}
	if _, err := schemas.ParseExtractor(":", "header:x", "nonsense"); err == nil {
		t.Error("ParseExtractor with a bad second spec = nil, want an error")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustExtractor(nonsense) did not panic")
		}
	}()
	schemas.MustExtractor("", "nonsense")
}

func TestExtractorElse(t *testing.T) {
	var zero schemas.Extractor
	first := schemas.MustExtractor("", "body:a")
	second := schemas.MustExtractor(":", "body:b", "header:x-id")
	third := schemas.MustExtractor("", "sha256")
	all := zero.Else(first).Else(second).Else(third).Else(zero)
	if got, want := all.String(), "body:a else body:b:header:x-id else sha256"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got := first.String(); got != "body:a" {
		t.Errorf("Else changed its receiver to %q", got)
	}
	f := func(x schemas.Extractor, body, want string) {
		t.Helper()
		got, ok := x.Extract(headers("x-id", "h1"), []byte(body))
		if got != want || ok != (want != "") {
			t.Errorf("%s in %s: %q, %v; want %q", x, body, got, ok, want)
		}
	}
	f(all, `{"a":1,"b":2}`, "1")
	f(all, `{"b":2}`, "2:h1")
	f(all, `{}`, string(schemas.BodyID([]byte(`{}`))))
	f(first.Else(second), `{}`, "")
	f(zero, `{"a":1}`, "")
	if !zero.IsZero() || first.IsZero() {
		t.Errorf("IsZero() of the zero value %v, of another %v; want true, false", zero.IsZero(), first.IsZero())
	}
}

// Any name without a dot reaches its value, whatever it means elsewhere.
func TestExtractAnyName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.Map(rapid.String(), func(s string) string {
			return strings.ReplaceAll(s, ".", "")
		}).Filter(func(s string) bool { return s != "" }), 1, 4).Draw(t, "names")
		want := rapid.String().Filter(func(s string) bool { return s != "" }).Draw(t, "value")
		var v any = want
		for i := len(names) - 1; i >= 0; i-- {
			v = map[string]any{names[i]: v}
		}
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		x, err := schemas.ParseExtractor("", "body:"+strings.Join(names, "."))
		if err != nil {
			t.Fatalf("names %q: %v", names, err)
		}
		if got, ok := x.Extract(nil, body); got != want || !ok {
			t.Fatalf("names %q in %s: %q, %v; want %q", names, body, got, ok, want)
		}
	})
}

func FuzzExtract(f *testing.F) {
	for _, b := range bodies {
		f.Add("id", []byte(b))
		f.Add("a.0.#", []byte(b))
	}
	f.Add("@this.id", []byte(`{"id":1}`))
	f.Add("a.b", []byte(`{"a":{"b":[[[[`))
	f.Add("99999999999999999999", []byte(`[1,2]`))
	f.Add("0|1", []byte(`[[1,2]]`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		x, err := schemas.ParseExtractor("", "body:"+path)
		if err != nil {
			return
		}
		before := string(body)
		text, ok := x.Extract(nil, body)
		if string(body) != before {
			t.Fatalf("path %q changed the body", path)
		}
		if ok == (text == "") {
			t.Fatalf("path %q in %q: %q, %v", path, body, text, ok)
		}
		// What comes of it is always fit for a record, whatever was found.
		if id := schemas.CleanID(text); !utf8.ValidString(string(id)) || len(id) > 512 {
			t.Fatalf("path %q in %q: id %q", path, body, id)
		}
		schemas.CleanType(text)
		schemas.ParseTime(text)
	})
}

func BenchmarkExtract(b *testing.B) {
	x := schemas.MustExtractor("", "body:data.object.id")
	body := []byte(`{"object":"event","created":1529006854,"data":{"object":{"amount":2000,"metadata":{"a":"b"},"id":"pi_123"}},"type":"x"}`)
	b.ReportAllocs()
	for b.Loop() {
		x.Extract(nil, body)
	}
}
