package schemas_test

import (
	"strings"
	"time"

	"pgregory.net/rapid"

	"hooklog/schemas"
)

// bodies are what senders really put on the wire, and what breaks a reader
// that takes a body for text.
var bodies = []string{
	"",
	"{}",
	`{"id":"evt_1","n":12345678901234567890}`,
	"{\r\n \"a\": 1\r\n}\r\n",
	"\ufeff{\"bom\":true}",
	"{\"name\":\"\xff\xfe\"}",
	"\x00\x01\x02\x80\xff",
	"payload=%7B%7D&x=1",
	"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
	"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n",
	`"a string"`,
	"[1, 2,\t3]",
	"null",
}

func genBody() *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.Map(rapid.SampledFrom(bodies), func(s string) []byte { return []byte(s) }),
		rapid.SliceOfN(rapid.Byte(), 0, 300),
	)
}

// genTime makes times that a record can say: the years 1 to 9999, but not the
// zero time, to the nanosecond, in any zone.
func genTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		sec := rapid.Int64Range(-62135596799, 253402300799).Draw(t, "sec")
		nano := rapid.Int64Range(0, 999_999_999).Draw(t, "nano")
		zone := rapid.IntRange(-14*3600, 14*3600).Draw(t, "zone")
		return time.Unix(sec, nano).In(time.FixedZone("", zone))
	})
}

func genHeaderName() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"host", "user-agent", "content-type", "x-github-event", "x-a"}),
		rapid.StringMatching("[a-z0-9!#$%&'*+.^_`|~-]{1,40}"),
	)
}

// genHeaders repeats names often, since their order and number must survive.
func genHeaders() *rapid.Generator[[]schemas.Header] {
	return rapid.Custom(func(t *rapid.T) []schemas.Header {
		var hs []schemas.Header
		for range rapid.IntRange(0, 12).Draw(t, "headers") {
			name := genHeaderName().Draw(t, "name")
			value := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "value")
			for range rapid.IntRange(1, 3).Draw(t, "repeats") {
				hs = append(hs, schemas.Header{Name: name, Value: value})
			}
		}
		return hs
	})
}

// genText makes any string, UTF-8 or not.
func genText(minLen, maxLen int) *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(rapid.Byte(), minLen, maxLen), func(b []byte) string { return string(b) })
}

func genEvent() *rapid.Generator[schemas.Event] {
	return rapid.Custom(func(t *rapid.T) schemas.Event {
		e := schemas.Event{
			ID:          schemas.EventID(genText(1, 80).Draw(t, "id")),
			Source:      schemas.SourceName(rapid.StringMatching("[a-z0-9][a-z0-9._-]{0,20}").Draw(t, "source")),
			Type:        schemas.EventType(genText(1, 40).Draw(t, "type")),
			Received:    genTime().Draw(t, "received"),
			ContentType: genText(0, 20).Draw(t, "content type"),
			Scheme:      genText(0, 20).Draw(t, "scheme"),
			SecretID:    genText(0, 20).Draw(t, "secret"),
			Method:      genText(0, 8).Draw(t, "method"),
			Target:      genText(0, 40).Draw(t, "target"),
			URL:         genText(0, 40).Draw(t, "url"),
			Headers:     genHeaders().Draw(t, "headers"),
			Body:        genBody().Draw(t, "body"),
		}
		e.Time = e.Received
		if rapid.Bool().Draw(t, "has a time") {
			e.Time = genTime().Draw(t, "time")
		}
		return e
	})
}

// short returns s for a failure message, without its middle if it is long.
func short(s string) string {
	if len(s) <= 200 {
		return s
	}
	return s[:100] + " ... " + s[len(s)-60:]
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
