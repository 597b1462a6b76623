package schemas

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a time as providers write it: RFC 3339 (also with a space
// for the T, with a zone without colon or minutes, or without a zone: UTC), or
// seconds or milliseconds since 1970, the latter told apart by size. The time
// is in UTC. ok is false for anything else, for a year that RFC 3339 cannot
// write, and for 0001-01-01T00:00:00Z, which is how .NET and Go write that
// there is none.
func ParseTime(s string) (t time.Time, ok bool) {
	if len(s) > maxTimeBytes {
		return time.Time{}, false
	}
	if t, ok = parseUnix(s); !ok {
		t, ok = parseDate(s)
	}
	// The year is judged in UTC, since that is how a record says it.
	t = t.UTC()
	if !ok || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// maxTimeBytes is twice the longest form of RFC 3339 with nanoseconds.
const maxTimeBytes = 2 * len("2006-01-02T15:04:05.999999999+07:00")

func parseUnix(s string) (time.Time, bool) {
	// ParseFloat also takes "NaN", "Infinity" and "0x1p-2".
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return time.Time{}, false
	}
	// 1e11 seconds are in the year 5138, 1e11 milliseconds in 1973.
	if math.Abs(f) >= 1e11 {
		f /= 1000
	}
	if math.Abs(f) > 1<<40 { // far outside the years 1 to 9999, but safe to convert
		return time.Time{}, false
	}
	sec, frac := math.Modf(f)
	// Providers give at most microseconds, and a float64 no more.
	return time.Unix(int64(sec), int64(math.Round(frac*1e6))*1000), true
}

func parseDate(s string) (time.Time, bool) {
	const date = len("2006-01-02")
	if len(s) <= date {
		return time.Time{}, false
	}
	if s[date] == ' ' {
		s = s[:date] + "T" + s[date+1:]
	}
	for _, zone := range []string{"Z07:00", "", "Z0700", "Z07"} {
		if t, err := time.Parse("2006-01-02T15:04:05"+zone, s); err == nil { // fractions are accepted after any seconds
			return t, true
		}
	}
	return time.Time{}, false
}
