package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/require"
)

// texts are the members of the document that only people read.
var texts = map[string]bool{"description": true, "summary": true, "title": true, "example": true, "examples": true}

// withoutTexts removes them. Names of properties and parameters stay, because they are
// keys of a map whose values are objects.
func withoutTexts(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if _, isObject := value.(map[string]any); texts[name] && !isObject {
				delete(v, name)
				continue
			}
			v[name] = withoutTexts(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutTexts(v[i])
		}
	}
	return v
}

// TestGoldenDocument: every path, parameter, member and answer of the API, as its
// document describes them.
func TestGoldenDocument(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	answer := w.Do("", http.MethodGet, api.DocumentPath, "")
	require.Equal(t, http.StatusOK, answer.Code)
	var document any
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &document))
	golden.JSON(t, "openapi", withoutTexts(document))
}
