package schemas_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"hooklog/schemas"
)

// TestEventSchema holds lines of AppendJSON against the published schema.
func TestEventSchema(t *testing.T) {
	schema := compiled(t)
	check := func(t failer, e *schemas.Event) {
		line, err := schemas.AppendJSON(nil, e)
		if err != nil {
			t.Fatalf("AppendJSON: %v", err)
		}
		var value any
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatalf("line %s: %v", line, err)
		}
		if err := schema.Validate(value); err != nil {
			t.Fatalf("line\n%s\nbreaks event.v1.json:\n%v", line, err)
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
	schema := compiled(t)
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
		if schema.Validate(value) == nil {
			t.Errorf("%v fits event.v1.json, want it refused", value)
		}
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("event.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
