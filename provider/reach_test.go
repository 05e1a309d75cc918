package provider

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestChoices: which accounts an answer names.
func TestChoices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, title, body string
		want              []Choice
	}{
		"one":                       {"id", "", `{"id":"a"}`, []Choice{{ID: "a"}}},
		"a number":                  {"id", "", `{"id":9007199254740993}`, []Choice{{ID: "9007199254740993"}}},
		"one with a title":          {"data.id", "name", `{"name":"A","data":{"id":"a"}}`, []Choice{{"a", "A"}}},
		"a list of one":             {"*.id", "name", `[{"id":"a","name":"A"}]`, []Choice{{"a", "A"}}},
		"a list":                    {"*.id", "name", `[{"id":"a","name":"A"},{"id":"b","name":"B"}]`, []Choice{{"a", "A"}, {"b", "B"}}},
		"a list, said as its first": {"0.id", "", `[{"id":"a"},{"id":"b"}]`, []Choice{{ID: "a"}, {ID: "b"}}},
		"the second":                {"1.id", "", `[{"id":"a"},{"id":"b"}]`, []Choice{{ID: "b"}}},
		"within":                    {"data.orgs.*.org.id", "org.name", `{"data":{"orgs":[{"org":{"id":1,"name":"A"}},{"org":{"id":2}}]}}`, []Choice{{"1", "A"}, {ID: "2"}}},
		"plain ids":                 {"advertiser_ids.*", "", `{"advertiser_ids":["1","2"]}`, []Choice{{ID: "1"}, {ID: "2"}}},
		"lists in a list":           {"*.sites.*.id", "name", `[{"sites":[{"id":"a"},{"id":"b","name":"B"}]},{"sites":[{"id":"c"}]},{}]`, []Choice{{ID: "a"}, {"b", "B"}, {ID: "c"}}},
		"twice":                     {"*.id", "", `[{"id":"a"},{"id":"a"},{"id":"b"}]`, []Choice{{ID: "a"}, {ID: "b"}}},
		"some without":              {"*.id", "", `[{},{"id":null},{"id":{}},{"id":""},{"id":"a\nb"},{"id":"a"}]`, []Choice{{ID: "a"}}},
		"an object with such names": {"0.*.id", "", `{"0":{"*":{"id":"a"}}}`, []Choice{{ID: "a"}}},
		"no list":                   {"*.id", "", `{"id":"a"}`, nil},
		"an empty list":             {"*.id", "", `[]`, nil},
		"no answer":                 {"*.id", "", `null`, nil},
		"a title that is no text":   {"*.id", "name", `[{"id":"a","name":["x"]}]`, []Choice{{ID: "a"}}},
		"one that turns the text":   {"*.id", "name", `[{"id":"a","name":"x\u202ey"}]`, []Choice{{ID: "a"}}},
		"a long title":              {"*.id", "name", `[{"id":"a","name":"` + strings.Repeat("é", 200) + `"}]`, []Choice{{"a", strings.Repeat("é", maxAccountTitle/2)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := decode([]byte(c.body))
			require.NoError(t, err)
			assert.Equal(t, c.want, AccountSource{Name: c.path, Title: c.title}.choices(body))
		})
	}
}

// TestReaches: a grant is for its accounts and no other.
func TestReaches(t *testing.T) {
	t.Parallel()
	several := accountOf([]Choice{{ID: "a"}, {ID: "b"}})
	assert.Empty(t, several.ID)
	assert.True(t, several.Reaches("b"))
	assert.False(t, several.Reaches("c"))
	assert.False(t, several.Reaches(""))
	assert.True(t, accountOf([]Choice{{ID: "a"}}).Reaches("a"))
	assert.Equal(t, "a", accountOf([]Choice{{ID: "a"}}).ID, "one needs no choice")
	assert.False(t, accountOf(nil).Reaches(""))
}

// FuzzChoices: for any answer of a provider, each choice can be an account, and none
// comes twice.
func FuzzChoices(f *testing.F) {
	for _, seed := range []string{`[{"id":"a","name":"A"}]`, `{"id":1}`, `[[["x"]]]`, `null`, `{"0":{"id":"x"}}`} {
		f.Add("*.id", "name", seed)
	}
	f.Add("a.*.*.0", "", `{"a":[["x","y"],["z"]]}`)
	f.Add("", "", `"x"`)
	f.Fuzz(func(t *testing.T, path, title, body string) {
		if strings.Count(path, ".") > 20 || !json.Valid([]byte(body)) {
			return
		}
		v, err := decode([]byte(body))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, c := range (AccountSource{Name: path, Title: title}).choices(v) {
			if !isAccount(c.ID) || seen[c.ID] || len(c.Title) > maxAccountTitle {
				t.Fatalf("%q", c)
			}
			seen[c.ID] = true
		}
	})
}
