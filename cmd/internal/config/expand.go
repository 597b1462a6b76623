package config

import (
	"fmt"
	"regexp"
	"strings"
)

// A reference ${NAME} has characters that end a plain YAML text inside [...]
// and {...}, and its value must never be read as YAML. So each is replaced,
// before the file is parsed, by characters that no file may contain, one for
// one so that columns stay right, and expanded in the values afterwards.
const (
	markDollar = '\uE000' // $ of a reference
	markOpen   = '\uE001' // { of a reference or of an escaped one
	markClose  = '\uE002' // } of either
	markEscape = '\uE003' // the first $ of $${, which is dropped
	markLit    = '\uE004' // the second, which stays
	markColon  = '\uE005' // a colon that is part of a text

	marks = string(markDollar) + string(markOpen) + string(markClose) + string(markEscape) + string(markLit) + string(markColon)
)

var (
	reference = regexp.MustCompile(`\$\$\{(?:[A-Za-z_][A-Za-z0-9_]*\})?|\$\{[A-Za-z_][A-Za-z0-9_]*\}`)
	marked    = regexp.MustCompile(string(markDollar) + string(markOpen) + `([A-Za-z_][A-Za-z0-9_]*)` + string(markClose))

	mark = func(ref string) string {
		rest, escaped := strings.CutPrefix(ref, "$$")
		out := string(markEscape) + string(markLit)
		if !escaped {
			out, rest = string(markDollar), ref[1:]
		}
		out += string(markOpen) + rest[1:]
		if s, closed := strings.CutSuffix(out, "}"); closed {
			out = s + string(markClose)
		}
		return out
	}
	written = strings.NewReplacer(string(markDollar), "$", string(markOpen), "{", string(markClose), "}",
		string(markEscape), "$", string(markLit), "$", string(markColon), ":")
	literal = strings.NewReplacer(string(markOpen), "{", string(markClose), "}", string(markEscape), "", string(markLit), "$", string(markColon), ":")
)

// hide replaces what the parser must not see in a whole file. Besides
// references these are colons with neither a blank behind them nor a quote
// before: YAML takes them as part of the text, but inside of {...} the parser
// reads 127.0.0.1:9092 as a key and its value.
func hide(text string) string {
	text = reference.ReplaceAllStringFunc(text, mark)
	var b strings.Builder
	for i := range len(text) {
		if text[i] == ':' && i > 0 && i+1 < len(text) && !strings.ContainsRune("\"'", rune(text[i-1])) && !strings.ContainsRune(" \t\r\n,[]{}", rune(text[i+1])) {
			b.WriteRune(markColon)
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// show returns a text as it stands in the file.
func show(text string) string { return written.Replace(text) }

// expand returns a value with its references replaced by what getenv has, and
// whether there was any. Values are not expanded again.
func (d *decoder) expand(at place, text string) (value string, fromEnv, ok bool) {
	ok = true
	if i := strings.Index(text, "${"); i >= 0 {
		d.wrong(at, `"${" does not start a variable`, `write ${NAME}, or $${ for a literal ${`)
		ok = false
	}
	var b strings.Builder
	rest := text
	for {
		m := marked.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		b.WriteString(literal.Replace(rest[:m[0]]))
		name := rest[m[2]:m[3]]
		v, set := d.env.Getenv(name)
		switch {
		case !set:
			d.wrong(at, fmt.Sprintf("the environment variable %s is not set", name))
			ok = false
		case v == "":
			d.wrong(at, fmt.Sprintf("the environment variable %s is empty", name))
			ok = false
		}
		b.WriteString(v)
		fromEnv = true
		rest = rest[m[1]:]
	}
	b.WriteString(literal.Replace(rest))
	return b.String(), fromEnv, ok
}
