package workflows

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// object is what the test reads of a JSON Schema.
type object struct {
	Type       string             `json:"type"`
	Ref        string             `json:"$ref"`
	Enum       []string           `json:"enum"`
	Required   []string           `json:"required"`
	Properties map[string]*object `json:"properties"`
	Items      *object            `json:"items"`
	MaxItems   int                `json:"maxItems"`
	Format     string             `json:"format"`
	Additional *bool              `json:"additionalProperties"`
}

// TestSchemaOfMessages: the schema that programs in other languages use says what the
// workflow reads and answers: every member, its type, whether it may be left out, and
// every word of a closed set.
func TestSchemaOfMessages(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/signals.schema.json")
	require.NoError(t, err)
	var file struct {
		Defs map[string]*object `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	for name, of := range map[string]reflect.Type{
		"refresh_now": reflect.TypeFor[RefreshNow](), "refresh_now_reply": reflect.TypeFor[RefreshNowReply](),
		"status": reflect.TypeFor[StatusReply](), "recent_refresh": reflect.TypeFor[RecentRefresh](),
	} {
		members, required := map[string]string{}, []string{}
		for field := range of.Fields() {
			member, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			members[member] = jsonType(field.Type)
			if !strings.HasPrefix(options, "omit") {
				required = append(required, member)
			}
		}
		got := map[string]string{}
		for member, o := range file.Defs[name].Properties {
			got[member] = o.kind()
		}
		assert.Equal(t, members, got, name)
		assert.ElementsMatch(t, required, file.Defs[name].Required, name)
		// An argument may get members in a later version; an answer is said whole.
		assert.Equal(t, name != "refresh_now", file.Defs[name].Additional != nil, name)
	}

	status := file.Defs["status"].Properties
	assert.ElementsMatch(t, slices.Concat(texts(perennial.Statuses), []string{string(activities.StatusMissing)}), status["status"].Enum)
	assert.ElementsMatch(t, texts(perennial.Healths), status["health"].Enum)
	assert.Equal(t, recentKept, status["recent"].MaxItems)
	assert.Equal(t, "#/$defs/recent_refresh", status["recent"].Items.Ref)
	assert.ElementsMatch(t, texts(perennial.RefusalCauses), file.Defs["refresh_now"].Properties["why"].Enum)
	assert.ElementsMatch(t, texts(perennial.Outcomes), file.Defs["refresh_now_reply"].Properties["outcome"].Enum)

	start, err := json.Marshal(NewState("con_1"))
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(start, &members))
	for member := range members {
		assert.Contains(t, file.Defs["start"].Properties, member)
	}
	assert.Len(t, file.Defs["start"].Properties, len(members))
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "array"
	case reflect.Struct:
		return "date-time"
	}
	return "string"
}

func (o *object) kind() string {
	switch {
	case o.Format != "":
		return o.Format
	case o.Type == "" && (o.Enum != nil || o.Ref != ""): // of words
		return "string"
	case o.Type == "":
		return "boolean" // a constant: left out where it is false
	}
	return o.Type
}

func texts[T ~string](of []T) (out []string) {
	for _, one := range of {
		out = append(out, string(one))
	}
	return out
}
