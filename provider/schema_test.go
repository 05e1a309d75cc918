package provider

import (
	_ "embed"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "catalogue/schema.json"

// schemaOf returns the JSON Schema of a description's type.
func schemaOf(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Struct:
		return objectSchema(t)
	}
	schema := map[string]any{"type": "string"}
	if t == reflect.TypeFor[Span]() {
		schema["pattern"] = `^([0-9]+d|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$`
	}
	return schema
}

func objectSchema(t reflect.Type) map[string]any {
	members, required := map[string]any{}, []string{}
	for field := range t.Fields() {
		if !field.IsExported() {
			continue
		}
		key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		schema := schemaOf(field.Type)
		schema["description"] = field.Tag.Get("doc")
		of := schema
		if items, ok := schema["items"].(map[string]any); ok {
			of = items
		}
		if values := field.Tag.Get("enum"); values != "" {
			of["enum"] = strings.Split(values, ",")
		}
		if pattern := field.Tag.Get("pattern"); pattern != "" {
			of["pattern"] = pattern
		}
		if !strings.Contains(options, "omitempty") {
			required = append(required, key)
		}
		members[key] = schema
	}
	out := map[string]any{"type": "object", "properties": members, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// TestGoldenSchema: the schema that editors use is that of the Go type.
func TestGoldenSchema(t *testing.T) {
	t.Parallel()
	schema := objectSchema(reflect.TypeFor[Description]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Description of an OAuth provider for Perennial"
	want, err := json.MarshalIndent(schema, "", "  ")
	require.NoError(t, err)
	want = append(want, '\n')
	if os.Getenv("PERENNIAL_UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(schemaFile, want, 0o644))
		return
	}
	require.Equal(t, string(want), string(Schema()), "write it with PERENNIAL_UPDATE_GOLDEN=1 go test -run TestGolden ./provider")
	for field := range reflect.TypeFor[Description]().Fields() {
		assert.NotEmpty(t, field.Tag.Get("doc"), field.Name)
	}
}

// valid validates a YAML document against the schema.
func valid(t *testing.T, raw []byte) []error {
	t.Helper()
	var schema huma.Schema
	require.NoError(t, json.Unmarshal(Schema(), &schema))
	schema.PrecomputeMessages()
	var document any
	require.NoError(t, yaml.Unmarshal(raw, &document))
	result := &huma.ValidateResult{}
	huma.Validate(huma.NewMapRegistry("#", huma.DefaultSchemaNamer), &schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, document, result)
	return result.Errors
}

// TestEntriesMatchTheSchema: an editor finds nothing wrong with the catalogue's files,
// and finds what is wrong with others.
func TestEntriesMatchTheSchema(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		raw, err := files.ReadFile(path(name))
		require.NoError(t, err)
		assert.Empty(t, valid(t, raw), name)
		assert.Empty(t, valid(t, written(t, entry(t, name))), name)
	}
	for wrong, says := range map[string]string{
		"tokens_undr: data":                          "unexpected property",
		"replay_class: maybe":                        "one of",
		"idle_lifetime: 3 days":                      "pattern",
		"json_body: 3":                               "boolean",
		"hosts: a.example":                           "array",
		"spellings: [{code: x}]":                     "outcome",
		"spellings: [{code: x, outcome: refreshed}]": "one of",
		"account: {from: nowhere}":                   "one of",
		"evidence: [{facts: [replay], by: provider, source: x, date: yesterday}]": "pattern",
	} {
		errs := valid(t, []byte(wrong))
		if assert.NotEmpty(t, errs, wrong) {
			assert.Contains(t, errs[0].Error(), says, wrong)
		}
	}
}
