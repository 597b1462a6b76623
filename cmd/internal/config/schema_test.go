package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hooklog/cmd/internal/config"
)

const schemaFile = "../../../schemas/config.v1.json"

// TestSchemaKeys keeps the published schema and the file format in step: both
// have the same keys.
func TestSchemaKeys(t *testing.T) {
	v := newValidator(t, schemaFile)
	got := v.keys(v.root, "")
	sort.Strings(got)
	if diff := cmp.Diff(config.DocumentKeys(), slices.Compact(got)); diff != "" {
		t.Errorf("keys of the document and of config.v1.json (-document +schema):\n%s", diff)
	}
}

// keys lists the properties of a schema and all below it; names that the file
// chooses are "*".
func (v *validator) keys(schema map[string]any, path string) (out []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return v.keys(v.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), path)
	}
	sub := func(s any, path string) {
		if s, ok := s.(map[string]any); ok {
			out = append(out, v.keys(s, path)...)
		}
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, s := range properties {
			below := strings.TrimPrefix(path+"."+name, ".")
			out = append(out, below)
			sub(s, below)
		}
	}
	sub(schema["additionalProperties"], path+".*")
	sub(schema["items"], path+"[]")
	for _, s := range slices.Concat(list(schema["anyOf"]), list(schema["oneOf"])) {
		sub(s, path)
	}
	return out
}

func list(v any) []any { l, _ := v.([]any); return l }

// TestSchemaGoodFiles holds the files that Load takes against the schema: an
// editor must not complain about them.
func TestSchemaGoodFiles(t *testing.T) {
	v := newValidator(t, schemaFile)
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("glob testdata/*.good.yaml: %d files, %v", len(files), err)
	}
	for _, file := range append(files, devFile) {
		if wrong := v.check(v.root, decoded(t, file), "config"); len(wrong) > 0 {
			t.Errorf("%s breaks config.v1.json:\n%s", file, strings.Join(wrong, "\n"))
		}
	}
}

// TestSchemaBadFiles checks that the schema finds what a schema can find.
func TestSchemaBadFiles(t *testing.T) {
	v := newValidator(t, schemaFile)
	for _, name := range []string{
		"key-unknown", "group-routes", "group-words", "kafka-brokers", "kafka-brokers-text", "kafka-sasl", "kafka-missing",
		"hmac-words", "hmac-incomplete", "limits", "source-name", "source-numbers", "extractor", "extractor-empty", "route-to", "wrong-kinds", "nulls", "unverified-value",
	} {
		if wrong := v.check(v.root, decoded(t, "testdata/"+name+".bad.yaml"), "config"); len(wrong) == 0 {
			t.Errorf("%s.bad.yaml fits config.v1.json, want it refused", name)
		}
	}
}

// decoded returns a file's values.
func decoded(t *testing.T, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	value := config.Plain(text)
	if value == nil {
		t.Fatalf("%s is not YAML", file)
	}
	return value
}

// validator holds decoded JSON values against a JSON Schema. It knows the
// keywords that hooklog's schemas use and fails on any other, so that none is
// taken for checked.
type validator struct{ root map[string]any }

func newValidator(t *testing.T, file string) *validator {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v := &validator{}
	if err := json.Unmarshal(text, &v.root); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

// check returns what is wrong with a value at a path.
func (v *validator) check(schema map[string]any, value any, path string) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, path+": "+fmt.Sprintf(format, args...)) }
	object, isObject := value.(map[string]any)
	array, isArray := value.([]any)
	text, isText := value.(string)
	number, isNumber := value.(float64)
	for keyword, want := range schema {
		switch keyword {
		case "$schema", "$id", "$defs", "title", "description", "default", "format", "contentEncoding", "additionalProperties":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			target, ok := v.root["$defs"].(map[string]any)[name].(map[string]any)
			if !ok {
				bad("the schema has no %v", want)
				continue
			}
			wrong = append(wrong, v.check(target, value, path)...)
		case "type":
			names, many := want.([]any)
			if !many {
				names = []any{want}
			}
			if !slices.ContainsFunc(names, func(n any) bool { return hasType(value, n.(string)) }) {
				bad("%v is not of type %v", value, want)
			}
		case "const":
			if value != want {
				bad("%v is not %v", value, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), value) {
				bad("%v is not one of %v", value, want)
			}
		case "anyOf", "oneOf":
			matches := 0
			for _, s := range want.([]any) {
				if len(v.check(s.(map[string]any), value, path)) == 0 {
					matches++
				}
			}
			if matches == 0 || keyword == "oneOf" && matches > 1 {
				bad("%v matches %d of %s", value, matches, keyword)
			}
		case "required":
			for _, name := range want.([]any) {
				if _, ok := object[name.(string)]; isObject && !ok {
					bad("%v is missing", name)
				}
			}
		case "properties":
			for name, s := range want.(map[string]any) {
				if x, ok := object[name]; ok {
					wrong = append(wrong, v.check(s.(map[string]any), x, path+"."+name)...)
				}
			}
		case "propertyNames":
			for name := range object {
				wrong = append(wrong, v.check(want.(map[string]any), name, path+"/"+name)...)
			}
		case "items":
			for i, x := range array {
				wrong = append(wrong, v.check(want.(map[string]any), x, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "minItems", "minProperties", "maxProperties", "minLength", "maxLength":
			size := map[string]int{"Items": len(array), "Properties": len(object), "Length": len([]rune(text))}[keyword[3:]]
			applies := map[string]bool{"Items": isArray, "Properties": isObject, "Length": isText}[keyword[3:]]
			if limit := int(want.(float64)); applies && (keyword[:3] == "min" && size < limit || keyword[:3] == "max" && size > limit) {
				bad("%d breaks %s %d", size, keyword, limit)
			}
		case "minimum":
			if isNumber && number < want.(float64) {
				bad("%v is less than %v", number, want)
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				bad("%q does not match %s", text, want)
			}
		default:
			bad("the schema's keyword %q is not known here", keyword)
		}
	}
	if extra, ok := schema["additionalProperties"]; ok && isObject {
		known, _ := schema["properties"].(map[string]any)
		for name, x := range object {
			if _, ok := known[name]; ok {
				continue
			}
			if s, ok := extra.(map[string]any); ok {
				wrong = append(wrong, v.check(s, x, path+"."+name)...)
			} else if extra == false {
				bad("%q is not a property", name)
			}
		}
	}
	return wrong
}

func hasType(value any, name string) bool {
	switch x := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && x == float64(int64(x))
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}
