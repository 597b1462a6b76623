package schemas_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"hooklog/schemas"
)

func TestParseTime(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, ok := schemas.ParseTime(in)
		text := "none"
		if ok {
			text = got.Format(time.RFC3339Nano)
		}
		if text != want {
			t.Errorf("ParseTime(%q) = %s, want %s", in, text, want)
		}
	}
	// RFC 3339 and what is nearly so.
	f("2025-09-21T17:43:31Z", "2025-09-21T17:43:31Z")
	f("2025-01-18T17:15:34+01:00", "2025-01-18T16:15:34Z")
	f("2025-09-20T17:45:20.500Z", "2025-09-20T17:45:20.5Z")
	f("2025-09-20T17:45:20.123456789Z", "2025-09-20T17:45:20.123456789Z")
	f("2025-10-04T11:14:21.000", "2025-10-04T11:14:21Z")
	f("2025-10-04 11:14:21", "2025-10-04T11:14:21Z")
	f("2025-10-04 11:14:21.25-02:30", "2025-10-04T13:44:21.25Z")
	f("2025-10-04T11:14:21+0000", "2025-10-04T11:14:21Z")
	f("2025-10-04T11:14:21.5-0130", "2025-10-04T12:44:21.5Z")
	f("2025-10-04 11:14:21.5+02", "2025-10-04T09:14:21.5Z")
	f("0001-01-01T00:00:01Z", "0001-01-01T00:00:01Z")
	f("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z")
	// Seconds and milliseconds.
	f("0", "1970-01-01T00:00:00Z")
	f("1529006854", "2018-06-14T20:07:34Z")
	f("1529006854.329574", "2018-06-14T20:07:34.329574Z")
	f("1529006854329", "2018-06-14T20:07:34.329Z")
	f("1529006854329.5", "2018-06-14T20:07:34.3295Z")
	f("1.529006854E9", "2018-06-14T20:07:34Z")
	f("-1.5", "1969-12-31T23:59:58.5Z")
	f("99999999999", "5138-11-16T09:46:39Z")
	f("100000000000", "1973-03-03T09:46:40Z")
	// There is none.
	f("", "none")
	f("yesterday", "none")
	f("2025-10-04", "none")
	f("2025-13-04T11:14:21Z", "none")
	f("2025-10-04T11:14:21Z ", "none")
	f("2025-10-04T11:14", "none")
	f("Thu, 14 Jun 2018 20:07:34 GMT", "none")
	f("0001-01-01T00:00:00", "none")
	f("0001-01-01T00:00:00Z", "none")
	f("0001-01-01T00:00:00+01:00", "none") // the year 0 in UTC
	f("9999-12-31T23:59:59-01:00", "none") // the year 10000
	f("0000-06-01T00:00:00Z", "none")
	f("NaN", "none")
	f("Inf", "none")
	f("-Infinity", "none")
	f("1e300", "none")
	f("-1e300", "none")
	f("1e999", "none")
	f("1529006854329574", "none") // microseconds would be the year 50,422
	f("0x5b22cb86", "none")
	f("1_529_006_854", "none")
	f("1529006854s", "none")
	f("+-.eE", "none")
	f(repeat("1", 1000), "none")
	f("2025-10-04T11:14:21."+repeat("0", 100)+"Z", "none")
}

// Whatever ParseTime finds survives a record.
func TestParseTimeFitsARecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"Z", "", "+14:00", "-12:00", "+0130", "-05"}).Draw(t, "zone")
		text := rapid.StringMatching(`[09]{3}[0-9]-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?`).Draw(t, "time") + zone
		checkTime(t, text)
	})
}

func checkTime(t interface{ Fatalf(string, ...any) }, text string) {
	got, ok := schemas.ParseTime(text)
	if !ok {
		if !got.IsZero() {
			t.Fatalf("ParseTime(%q) = %s, false; want the zero time", text, got)
		}
		return
	}
	e := exampleEvent()
	e.Time = got
	back, err := schemas.Decode(schemas.Encode(e, "t"))
	if err != nil || !back.Time.Equal(got) {
		t.Fatalf("ParseTime(%q) = %s, in a record %s, %v", text, got, back.Time, err)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{
		"2025-09-21T17:43:31Z", "2025-10-04 11:14:21.5+02", "1529006854.329574", "1529006854329", "-1.5", "1e11", "NaN",
		"0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "253402300799.9999999", "-62135596800", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkTime(t, s) })
}
