package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong, or doubtful, in a configuration. It
// never holds a secret.
type Problem struct {
	// File, Line and Column say where; both numbers start at 1 and the column
	// counts characters. Line is zero where the problem has no place in the
	// file, as for a flag.
	File         string
	Line, Column int
	// Path names the value, such as "sources.stripe.secrets[0]"; empty for the
	// file as a whole.
	Path string
	// Message says what is wrong, Hint what to do; Hint may be empty.
	Message, Hint string
	// Warning is set if the configuration can be used all the same.
	Warning bool
}

// String returns "file:line:col: path: message (hint)", with "warning: "
// before the path of a warning.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		b.WriteString(p.File)
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Line))
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Column))
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (")
		b.WriteString(p.Hint)
		b.WriteByte(')')
	}
	return b.String()
}

// Problems are all that was found, in the order of the file.
type Problems []Problem

// Errors returns those that forbid the use of the configuration.
func (ps Problems) Errors() Problems { return ps.pick(false) }

// Warnings returns those that do not.
func (ps Problems) Warnings() Problems { return ps.pick(true) }

func (ps Problems) pick(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

// Err returns nil if there are only warnings, else an error of one line for
// each error.
func (ps Problems) Err() error {
	wrong := ps.Errors()
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(wrong.String())
}

// String returns one line for each problem.
func (ps Problems) String() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// place is where a value stands in the file, and what it is called.
type place struct {
	line, column int
	path         string
}

// collector gathers the problems of one Load.
type collector struct {
	file     string
	problems Problems
}

// wrong notes an error; of the hints, the first that is not empty is used.
func (c *collector) wrong(at place, message string, hints ...string) {
	c.add(at, false, message, hints)
}

// doubt notes a warning.
func (c *collector) doubt(at place, message string, hints ...string) {
	c.add(at, true, message, hints)
}

func (c *collector) add(at place, warning bool, message string, hints []string) {
	p := Problem{File: c.file, Line: max(at.line, 0), Column: at.column, Path: at.path, Message: message, Warning: warning}
	for _, h := range hints {
		if h != "" {
			p.Hint = h
			break
		}
	}
	c.problems = append(c.problems, p)
}

// sorted returns the problems in the order of the file, without those that say
// the same of the same place.
func (c *collector) sorted() Problems {
	slices.SortStableFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(c.problems)
}

// didYouMean returns the hint that names the known word nearest to the given
// one, or "" if none is near.
func didYouMean(word string, known []string) string {
	best, distance := "", 1+len(word)/3 // One slip in short words, more in long ones.
	for _, k := range known {
		if d := editDistance(word, k); d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + strconv.Quote(best) + "?"
}

// editDistance counts the letters to insert, drop, replace or swap with their
// neighbour that turn a into b. Words longer than any key are not measured.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var before, last, row [longest + 1]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
