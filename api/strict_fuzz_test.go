package api_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/perennial-oauth/perennial/api"
	"github.com/stretchr/testify/require"
)

// FuzzStrictJSON: an accepted body means the same to a parser that takes the first of
// two equal members and to one that takes the last. Writing it again changes nothing.
func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{`{"a": 1}`, `{"a": {"b": [1, 2, {"c": "x"}]}, "d": null}`, `{"a": 1, "a": 2}`, `{"a": "\ud83d\ude00"}`, `{"a": "\ud83d"}`, `{"\u0061": 1, "a": 2}`,
		`[[[]]]`, `"x"`, `{"tokens": {"x": "\u202e"}}`, `{"a": "\\ud800"}`, `1e400`, `{"a": "\ud83d\\ude00"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) || api.CheckJSON(body) != nil {
			return
		}
		var members any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		require.NoError(t, decoder.Decode(&members))
		again, err := json.Marshal(members)
		require.NoError(t, err)
		require.Equal(t, tokensIn(body), tokensIn(again), "%s", body)
		if !bytes.Contains(body, []byte("\ufffd")) && !bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`)) {
			require.NotContains(t, string(again), "\ufffd")
		}
	})
}

// tokensIn counts the names, values and brackets of a JSON text.
func tokensIn(text []byte) (n int) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	for ; ; n++ {
		if _, err := decoder.Token(); err != nil {
			return n
		}
	}
}
