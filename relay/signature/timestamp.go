package signature

import (
	"strconv"
	"time"
)

// Unit is the notation of a timestamp.
type Unit uint8

// Units, and their names in a configuration.
const (
	Seconds      Unit = iota // s: since 1970, in decimal
	Milliseconds             // ms: since 1970, in decimal
	RFC3339                  // rfc3339
)

var unitNames = []string{"s", "ms", "rfc3339"}

// ParseUnit reads the name of a unit.
func ParseUnit(name string) (Unit, error) { return parseName[Unit]("unit", unitNames, name) }

// String returns the unit's name.
func (u Unit) String() string { return nameOf("unit", unitNames, u) }

func (u Unit) valid() bool { return int(u) < len(unitNames) }

func (u Unit) alphabet() string {
	if u == RFC3339 {
		return "0123456789-:.+TZ"
	}
	return "0123456789"
}

// maxDigits is the length of the year 5138 in milliseconds with a digit to
// spare. It keeps the arithmetic far from overflow.
const maxDigits = 15

// parse reads a timestamp; a number must be written canonically, and not be
// zero. What is signed is the text, and where nothing stands between it and
// the body, a digit could be moved under the same signature: with leading
// zeros that would not change the number, without them it changes it tenfold.
func (u Unit) parse(text []byte) (time.Time, bool) {
	if u == RFC3339 {
		var t time.Time
		if !shapedRFC3339(text) || t.UnmarshalText(text) != nil {
			return time.Time{}, false
		}
		return t.UTC(), true
	}
	if len(text) == 0 || len(text) > maxDigits || text[0] == '0' {
		return time.Time{}, false
	}
	var n int64
	for _, c := range text {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		n = n*10 + int64(c-'0')
	}
	if u == Milliseconds {
		return time.UnixMilli(n).UTC(), true
	}
	return time.Unix(n, 0).UTC(), true
}

// shapedRFC3339 refuses what package time accepts beyond RFC 3339, such as a
// comma for the point, an hour of one digit, or an offset of 24 hours.
func shapedRFC3339(text []byte) bool {
	const shape = "0000-00-00T00:00:00"
	if len(text) <= len(shape) || !shaped(text[:len(shape)], shape) {
		return false
	}
	rest := text[len(shape):]
	if rest[0] == '.' {
		digits := 0
		for digits < len(rest)-1 && shaped(rest[digits+1:digits+2], "0") {
			digits++
		}
		if digits < 1 || digits > 9 {
			return false
		}
		rest = rest[digits+1:]
	}
	switch len(rest) {
	case len("Z"):
		return rest[0] == 'Z'
	case len("+00:00"):
		return (rest[0] == '+' || rest[0] == '-') && shaped(rest[1:], "00:00") && string(rest[1:3]) <= "23" && string(rest[4:]) <= "59"
	}
	return false
}

// shaped reports whether text has the length of the shape, digits where that
// has zeros, and the same characters elsewhere.
func shaped(text []byte, shape string) bool {
	for i, c := range text {
		digit := c >= '0' && c <= '9'
		if i >= len(shape) || digit != (shape[i] == '0') || !digit && c != shape[i] {
			return false
		}
	}
	return len(text) == len(shape)
}

// append writes t as parse reads it, rounded down to the unit; RFC 3339 is
// written to the second.
func (u Unit) append(dst []byte, t time.Time) []byte {
	switch u {
	case Milliseconds:
		return strconv.AppendInt(dst, t.UnixMilli(), 10)
	case RFC3339:
		return t.UTC().AppendFormat(dst, time.RFC3339)
	case Seconds:
	}
	return strconv.AppendInt(dst, t.Unix(), 10)
}
