package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"hooklog/cmd/internal/config"
)

const schemaFile = "../../../schemas/config.v1.json"

// TestSchemaKeys keeps the published schema and the file format in step: both
// have the same keys.
func TestSchemaKeys(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatalf("%s: %v", schemaFile, err)
	}
	got := keys(root, root, "")
	sort.Strings(got)
	if diff := cmp.Diff(config.DocumentKeys(), slices.Compact(got)); diff != "" {
		t.Errorf("keys of the document and of config.v1.json (-document +schema):\n%s", diff)
	}
}

// keys lists the properties of a schema and all below it; names that the file
// chooses are "*".
func keys(root, schema map[string]any, path string) (out []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return keys(root, root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), path)
	}
	sub := func(s any, path string) {
		if s, ok := s.(map[string]any); ok {
			out = append(out, keys(root, s, path)...)
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
	schema := compiled(t)
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("glob testdata/*.good.yaml: %d files, %v", len(files), err)
	}
	for _, file := range append(files, devFile) {
		if err := schema.Validate(decoded(t, file)); err != nil {
			t.Errorf("%s breaks config.v1.json:\n%v", file, err)
		}
	}
}

// TestSchemaBadFiles checks that the schema finds what a schema can find.
func TestSchemaBadFiles(t *testing.T) {
	schema := compiled(t)
	for _, name := range []string{
		"key-unknown", "group-routes", "group-words", "kafka-brokers", "kafka-brokers-text", "kafka-sasl", "kafka-missing",
		"hmac-words", "hmac-incomplete", "limits", "source-name", "source-numbers", "extractor", "extractor-empty", "route-to", "wrong-kinds", "nulls", "unverified-value",
	} {
		if schema.Validate(decoded(t, "testdata/"+name+".bad.yaml")) == nil {
			t.Errorf("%s.bad.yaml fits config.v1.json, want it refused", name)
		}
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return schema
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
