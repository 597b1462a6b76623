package relay_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hooklog/relay"
)

// FuzzRequestLoad: no header block makes the parser panic or point outside of
// it, and what it takes for a field is one.
func FuzzRequestLoad(f *testing.F) {
	for _, raw := range []string{
		"", "\r\n", "\n", ":", "a", "a:", ":b", "a:b", "a:b\r\n\r\n", "Host: a\r\nX:\t y \t\r\n\r\n", "a:b\nc:d\n\n", "a: b\r\n c\r\n", "a b: c\r\n",
		"a:b\r\n\r\nc:d\r\n", "a:\r", "a:\r\r\n", "a::b:\r\n", strings.Repeat("a:b\r\n", 300), "\x00:\x00", "é: é\r\n",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		fields, ok, err := relay.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(raw, before) {
			t.Fatal("the block was changed")
		}
		if !ok {
			return
		}
		var lines []string
		for _, f := range fields {
			if f.Name == "" || strings.ContainsAny(f.Name, " \t:\n") || strings.Trim(f.Value, " \t") != f.Value || strings.Contains(f.Value, "\n") {
				t.Fatalf("%q is taken for a field of %q", f, raw)
			}
			lines = append(lines, f.Name+": "+f.Value+"\r\n")
		}
		again, ok, err := relay.ParseHeader([]byte(strings.Join(lines, "")))
		if err != nil || !ok {
			t.Fatalf("what was read cannot be read again: %v, %v", ok, err)
		}
		if d := cmp.Diff(fields, again); d != "" && !strings.Contains(string(raw), "\r") {
			t.Fatalf("read again it differs (-first +second):\n%s", d)
		}
	})
}
