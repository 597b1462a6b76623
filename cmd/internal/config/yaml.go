package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a file may be. The library's time grows with the square of the lines of
// a text and of the tokens, and worse with nesting (100,000 brackets took it a
// minute); at these bounds it stays below a second or two.
const (
	maxFileBytes = 512 << 10
	maxLines     = 10_000 // two thousand sources of five lines each
	maxTokens    = 50_000
	maxNesting   = 24 // the document itself has eleven levels
)

// parse returns the root of the one document in text, or nil after noting
// what is wrong. It notes one problem: after a mistake in the syntax all that
// follows would be guesses.
func (c *collector) parse(text []byte) ast.Node {
	top := place{line: 1, column: 1}
	if len(text) > maxFileBytes {
		c.wrong(top, fmt.Sprintf("the file has %d bytes, more than %d", len(text), maxFileBytes))
		return nil
	}
	// Some editors write a byte order mark, and carriage returns before line
	// feeds.
	s := strings.ReplaceAll(strings.TrimPrefix(string(text), "\ufeff"), "\r\n", "\n")
	if strings.Count(s, "\n")+strings.Count(s, "\r") > maxLines {
		c.wrong(top, fmt.Sprintf("the file has more than %d lines", maxLines))
		return nil
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		c.wrong(badRune(s), "the file is not UTF-8 text", "save it as UTF-8")
		return nil
	}
	if i := strings.IndexAny(s, marks); i >= 0 {
		c.wrong(placeOf(s, i), "private-use characters U+E000 to U+E005 are not supported")
		return nil
	}
	tokens := lexer.Tokenize(hide(s))
	if !c.judge(tokens) {
		return nil
	}
	file, err := parseTokens(tokens)
	if err != nil {
		c.syntax(s, err)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return doc.Body
		}
	}
	c.wrong(top, "the file is empty", "hooklog dev --print-config writes one to start from")
	return nil
}

// parseTokens keeps a panic of the parser, foreign code that was made for
// friendlier input, from taking the process down.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the YAML cannot be read")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// judge refuses what a configuration does not need and a parser suffers from.
func (c *collector) judge(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		c.wrong(place{line: 1, column: 1}, fmt.Sprintf("the file has more than %d words and signs", maxTokens))
		return false
	}
	flow, dashes, line, begun := 0, 0, 0, false
	for _, tk := range tokens {
		at := tokenPlace(tk)
		if at.line != line {
			line, dashes = at.line, 0
		}
		switch tk.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			hint := "write the value out"
			if tk.Type == token.AliasType {
				hint = `write the value out; a glob that starts with * needs quotes: "*"`
			}
			c.wrong(at, "YAML anchors and aliases are not supported", hint)
			return false
		case token.TagType:
			c.wrong(at, "YAML tags are not supported", "a text that starts with ! needs quotes")
			return false
		case token.DirectiveType:
			c.wrong(at, "YAML directives are not supported", "a text that starts with % needs quotes")
			return false
		case token.MappingKeyType:
			c.wrong(at, "YAML keys with ? are not supported", "write key: value")
			return false
		case token.DocumentHeaderType, token.DocumentEndType:
			if begun {
				c.wrong(at, "a second YAML document is not supported", "use one file each")
				return false
			}
			continue
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			dashes++
		case token.InvalidType:
			// The lexer stopped here; the parser says why.
			return true
		case token.CommentType, token.SpaceType:
			continue
		default:
		}
		begun = true
		if flow > maxNesting || dashes > maxNesting {
			c.wrong(at, fmt.Sprintf("more than %d levels of nesting", maxNesting))
			return false
		}
	}
	return true
}

// syntax notes a parser's error. Its own text would quote the lines around the
// mistake, secrets included, and a few of its messages quote a word.
func (c *collector) syntax(text string, err error) {
	at := place{line: 1, column: 1}
	message := err.Error()
	var ye yaml.Error
	if errors.As(err, &ye) {
		message = ye.GetMessage()
		if tk := ye.GetToken(); tk != nil && tk.Position != nil {
			at = tokenPlace(tk)
		}
	}
	message, _, _ = strings.Cut(message, `: "`)
	message, _, _ = strings.Cut(message, "\n")
	var hint string
	switch line := lineOf(text, at.line); {
	case strings.Contains(message, "tab") || strings.Contains(message, "\t") || strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
		message, hint = "found a tab", "YAML indents with blanks"
	case strings.Contains(message, "header option"):
		message, hint = "found text behind | or >", "a text that starts with one of them needs quotes"
	case strings.Contains(line, "${"):
		hint = "a variable is written ${NAME}; other braces need quotes"
	case template.MatchString(line):
		hint = `a text with braces needs quotes, as in signed: "{body}"`
	}
	c.wrong(at, "not valid YAML: "+message, hint)
}

var template = regexp.MustCompile(`\{(body|ts|id|method|url|target|source|type)\}`)

func tokenPlace(tk *token.Token) place {
	return place{line: max(tk.Position.Line, 1), column: max(tk.Position.Column, 1)}
}

func badRune(s string) place {
	for i, r := range s {
		if r == utf8.RuneError || r == 0 {
			return placeOf(s, i)
		}
	}
	return place{line: 1, column: 1}
}

func placeOf(s string, i int) place {
	before := s[:i]
	start := strings.LastIndexByte(before, '\n') + 1
	return place{line: 1 + strings.Count(before, "\n"), column: 1 + utf8.RuneCountInString(before[start:])}
}

func lineOf(s string, n int) string {
	for range n - 1 {
		_, s, _ = strings.Cut(s, "\n")
	}
	line, _, _ := strings.Cut(s, "\n")
	return line
}
