package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// decoder fills a document from the nodes of a file and notes every mistake
// on the way, which a decoder into plain values cannot: it stops at the first
// and forgets where the others stood.
type decoder struct {
	*collector
	env Env
}

// value is a part of a document that reads itself from a node.
type value interface {
	decode(d *decoder, n ast.Node, path string)
}

// block is embedded by the structs of a document: where it stands.
type block struct{ place }

func (b *block) setPlace(at place) { b.place = at }

// into decodes a node into a value, or into a pointer to a struct that embeds
// block and whose fields, tagged with their keys, are of either kind.
func (d *decoder) into(target any, n ast.Node, path string) {
	if v, ok := target.(value); ok {
		v.decode(d, n, path)
		return
	}
	ptr := reflect.ValueOf(target).Elem() // **struct
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	s := reflect.New(ptr.Type().Elem())
	ptr.Set(s)
	s.Interface().(interface{ setPlace(at place) }).setPlace(nodePlace(n, path))
	fields := fieldsOf(s.Elem().Type())
	for _, p := range pairs {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == p.key })
		if i < 0 {
			d.unknown(p, path, fields)
			continue
		}
		// All fields are exported so that they can be reached; the type is not.
		d.into(s.Elem().Field(fields[i].index).Addr().Interface(), p.value, join(path, p.key))
	}
}

// unknown says that a key is none of a block's. A key that is near none may be
// anything, a secret that lost its place included, so it is not repeated.
func (d *decoder) unknown(p pair, path string, fields []field) {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	hint := didYouMean(p.key, keys)
	if !plainKey(p.key) {
		d.wrong(p.at(path), "unknown key", "the keys here are "+strings.Join(keys, ", "))
		return
	}
	d.wrong(p.at(join(path, p.key)), "unknown key", hint, "the keys here are "+strings.Join(keys, ", "))
}

// plainKey reports whether a key looks like one that somebody made up for a
// configuration.
func plainKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && c != '_' && c != '-' {
			return false
		}
	}
	return len(key) > 0 && len(key) <= 24
}

type field struct {
	key   string
	index int
}

// fieldsOf returns the keys of a block's struct in the order of declaration.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			out = append(out, field{key: key, index: i})
		}
	}
	return out
}

// pair is a key and its value.
type pair struct {
	key          string
	line, column int
	value        ast.Node
}

func (p pair) at(path string) place { return place{line: p.line, column: p.column, path: path} }

// pairs returns the pairs of a mapping; of a key that occurs twice, the first.
func (d *decoder) pairs(n ast.Node, path string) ([]pair, bool) {
	var nodes []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		nodes = n.Values
	case *ast.MappingValueNode:
		nodes = []*ast.MappingValueNode{n}
	default:
		d.mismatch(n, path, "a map of keys")
		return nil, false
	}
	seen := make(map[string]pair, len(nodes))
	out := make([]pair, 0, len(nodes))
	for _, kv := range nodes {
		at := tokenPlace(kv.Key.GetToken())
		raw := kv.Key.GetToken().Value
		p := pair{key: show(raw), line: at.line, column: at.column, value: kv.Value}
		if strings.ContainsAny(raw, marks) || strings.Contains(raw, "${") {
			hint := ""
			if strings.ContainsRune(raw, markColon) {
				hint = "a blank is missing behind the colon"
			}
			d.wrong(p.at(path), "a key has neither variables nor a colon in it", hint)
			continue
		}
		if first, twice := seen[p.key]; twice {
			name := path
			if plainKey(p.key) {
				name = join(path, p.key)
			}
			d.wrong(p.at(name), fmt.Sprintf("the key is there already, in line %d", first.line))
			continue
		}
		seen[p.key] = p
		out = append(out, p)
	}
	return out, true
}

// mismatch says that a node is not of the wanted kind.
func (d *decoder) mismatch(n ast.Node, path, want string) {
	got, hint := "a text", ""
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		got = "a map of keys"
	case *ast.SequenceNode:
		got = "a list"
	case *ast.NullNode:
		d.wrong(nodePlace(n, path), "it is empty, want "+want, "leave the key out for the default")
		return
	}
	if want == "a list" && got == "a text" {
		hint = "write [...] around it"
	}
	d.wrong(nodePlace(n, path), "want "+want+", got "+got, hint)
}

// scalar returns the text of a scalar as it was written, whatever YAML would
// make of it: 0123 keeps its zero and yes is a word.
func (d *decoder) scalar(n ast.Node, path string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.LiteralNode:
		return n.Value.GetToken().Value, true
	}
	d.mismatch(n, path, "a text")
	return "", false
}

func nodePlace(n ast.Node, path string) place {
	tk := n.GetToken()
	switch n := n.(type) {
	case *ast.MappingNode:
		// Its own token is the first colon, except in {...}.
		if !n.IsFlowStyle && len(n.Values) > 0 {
			tk = n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		tk = n.Key.GetToken()
	}
	at := tokenPlace(tk)
	at.path = path
	return at
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// list is a sequence of T, each a value or a pointer to a struct.
type list[T any] struct {
	place
	items []T
}

func (l *list[T]) decode(d *decoder, n ast.Node, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.mismatch(n, path, "a list")
		return
	}
	l.place = nodePlace(n, path)
	for i, item := range seq.Values {
		var x T
		d.into(&x, item, path+"["+strconv.Itoa(i)+"]")
		l.items = append(l.items, x)
	}
}

// element returns a zero T, for those who list the keys of a document.
func (l *list[T]) element() any { return new(T) }

// named is a mapping from names that the file chooses to T, in its order.
type named[T any] struct {
	place
	items []entry[T]
}

type entry[T any] struct {
	place // of the name
	name  string
	value T
}

func (m *named[T]) decode(d *decoder, n ast.Node, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	m.place = nodePlace(n, path)
	for _, p := range pairs {
		e := entry[T]{place: p.at(join(path, pathName(p.key))), name: p.key}
		d.into(&e.value, p.value, e.path)
		m.items = append(m.items, e)
	}
}

func (m *named[T]) element() any { return new(T) }

// pathName returns a name as it stands in a path: quoted and shortened where
// it could not be told from the rest of it.
func pathName(name string) string {
	const longest = 64
	if looksSecret.MatchString(name) {
		return "REDACTED"
	}
	if len(name) > longest {
		name = name[:longest]
		for !utf8.ValidString(name) {
			name = name[:len(name)-1]
		}
		return strconv.Quote(name + "...")
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '"' || r == ':' || r >= 0x7f }) {
		return strconv.Quote(name)
	}
	return name
}
