package config

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// DocumentKeys returns the keys of the file format, sorted, such as
// "sources.*.hmac.header".
func DocumentKeys() []string {
	keys := keysOf(reflect.TypeFor[*document](), "")
	slices.Sort(keys)
	return keys
}

func keysOf(t reflect.Type, path string) (out []string) {
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && !t.Implements(reflect.TypeFor[value]()) {
		for _, f := range fieldsOf(t.Elem()) {
			below := join(path, f.key)
			out = append(out, below)
			out = append(out, keysOf(t.Elem().Field(f.index).Type, below)...)
		}
		return out
	}
	v := reflect.New(t).Interface()
	inside, ok := v.(interface{ element() any })
	if !ok {
		return nil
	}
	switch v.(type) {
	case interface{ isList() }:
		path += "[]"
	case interface{ isNamed() }:
		path += ".*"
	}
	return keysOf(reflect.TypeOf(inside.element()).Elem(), path)
}

func (*list[T]) isList()   {}
func (*named[T]) isNamed() {}

// Plain returns a file's values as JSON would be decoded, or nil if it is not
// YAML.
func Plain(text []byte) any {
	c := &collector{}
	root := c.parse(text)
	if root == nil {
		return nil
	}
	return plainValue(root)
}

func plainValue(n ast.Node) any {
	switch n := n.(type) {
	case *ast.MappingNode:
		out := map[string]any{}
		for _, kv := range n.Values {
			out[show(kv.Key.GetToken().Value)] = plainValue(kv.Value)
		}
		return out
	case *ast.SequenceNode:
		out := []any{}
		for _, x := range n.Values {
			out = append(out, plainValue(x))
		}
		return out
	case *ast.NullNode:
		return nil
	case *ast.BoolNode:
		return n.Value
	case *ast.IntegerNode, *ast.FloatNode:
		if x, err := strconv.ParseFloat(n.GetToken().Value, 64); err == nil {
			return x
		}
	case *ast.LiteralNode:
		return show(n.Value.GetToken().Value)
	}
	return show(n.GetToken().Value)
}
