package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// duration is a positive time.Duration; "d" is a day of 24 hours.
type duration struct {
	text
	value time.Duration
}

func (v *duration) decode(d *decoder, n ast.Node, path string) {
	decodeAs(d, n, path, &v.text, &v.value, parseDuration)
}

func (v *duration) or(value time.Duration) time.Duration {
	if v.isSet() {
		return v.value
	}
	return value
}

var days = regexp.MustCompile(`^([0-9]{1,7})d`)

func parseDuration(s string) (time.Duration, error) {
	if s == "" || s[0] == '-' {
		return 0, errors.New("want a positive duration such as 2500ms, 10s, 1h30m or 30d")
	}
	var sum time.Duration
	rest := s
	if m := days.FindStringSubmatch(s); m != nil {
		n, _ := strconv.ParseInt(m[1], 10, 64) // Seven digits.
		const most = int64(math.MaxInt64 / (24 * time.Hour))
		if n > most {
			return 0, fmt.Errorf("more than %d days", most)
		}
		sum, rest = time.Duration(n)*24*time.Hour, s[len(m[0]):]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || sum > math.MaxInt64-d {
			return 0, errors.New("want a duration such as 2500ms, 10s, 1h30m or 30d")
		}
		sum += d
	}
	if sum <= 0 {
		return 0, errors.New("want a duration above zero")
	}
	return sum, nil
}

// size is a positive number of bytes.
type size struct {
	text
	value int64
}

func (v *size) decode(d *decoder, n ast.Node, path string) {
	decodeAs(d, n, path, &v.text, &v.value, parseSize)
}

func (v *size) or(value int64) int64 {
	if v.isSet() {
		return v.value
	}
	return value
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,19}) ?(B|[kKMGT]i?B?)?$`)

func parseSize(s string) (int64, error) {
	wrong := errors.New("want a size such as 1048576, 64KiB, 1MiB or 1GiB")
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, wrong
	}
	shift := 0
	switch m[2] {
	case "", "B":
	case "KiB":
		shift = 10
	case "MiB":
		shift = 20
	case "GiB":
		shift = 30
	case "TiB":
		shift = 40
	default:
		// 1 MB is a million bytes to some and 1,048,576 to others.
		return 0, errors.New("want B, KiB, MiB, GiB or TiB behind the number")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, errors.New("the size is too large")
	}
	if n == 0 {
		return 0, errors.New("want a size above zero")
	}
	return n << shift, nil
}

// number is a whole number that is not negative.
type number struct {
	text
	value int
}

func (v *number) decode(d *decoder, n ast.Node, path string) {
	decodeAs(d, n, path, &v.text, &v.value, func(s string) (int, error) {
		i, err := strconv.ParseInt(s, 10, 32)
		if err != nil || i < 0 {
			return 0, errors.New("want a whole number")
		}
		return int(i), nil
	})
}
