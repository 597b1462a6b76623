package schemas_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hooklog/schemas"
)

// TestEventSchema holds lines of AppendJSON against the published schema.
func TestEventSchema(t *testing.T) {
	v := newValidator(t, "event.v1.json")
	check := func(t failer, e *schemas.Event) {
		line, err := schemas.AppendJSON(nil, e)
		if err != nil {
			t.Fatalf("AppendJSON: %v", err)
		}
		var value any
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatalf("line %s: %v", line, err)
		}
		if wrong := v.check(v.root, value, "event"); len(wrong) > 0 {
			t.Fatalf("line\n%s\nbreaks event.v1.json:\n%s", line, strings.Join(wrong, "\n"))
		}
	}
	at := time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)
	for _, body := range bodies {
		check(t, &schemas.Event{ID: "evt_1", Source: "acme", Type: "a.b", Time: at, Received: at, Scheme: "none", Method: "POST", Target: "/", Body: []byte(body)})
	}
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent().Draw(t, "event")
		check(t, &e)
	})
}

// TestEventSchemaRefuses checks that the schema is not one that takes all.
func TestEventSchemaRefuses(t *testing.T) {
	v := newValidator(t, "event.v1.json")
	at := time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)
	line, err := schemas.AppendJSON(nil, &schemas.Event{ID: "evt_1", Source: "acme", Type: "a.b", Time: at, Received: at, Scheme: "none", Body: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(map[string]any){
		func(e map[string]any) { delete(e, "id") },
		func(e map[string]any) { delete(e, "data") },
		func(e map[string]any) { e["data_base64"] = "" },
		func(e map[string]any) { e["specversion"] = "0.3" },
		func(e map[string]any) { e["offset"] = -1.0 },
		func(e map[string]any) { e["offset"] = "1" },
		func(e map[string]any) { e["source"] = "A" },
		func(e map[string]any) { e["headers"] = map[string]any{"http_a": "b"} },
		func(e map[string]any) { e["other"] = true },
	} {
		var value map[string]any
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatal(err)
		}
		change(value)
		if wrong := v.check(v.root, value, "event"); len(wrong) == 0 {
			t.Errorf("%v fits event.v1.json, want it refused", value)
		}
	}
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
