package refresh

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMissingScopes: only what an earlier reply named, and the app requires, can be lost.
func TestMissingScopes(t *testing.T) {
	t.Parallel()
	words := provider.Entry{ScopesIgnoreCase: true, ScopePrefixes: []string{"https://x.example/"}, ScopesUnnamed: []string{"base*"},
		ScopesImply: map[string][]string{"write_*": {"read_*"}}}
	for name, c := range map[string]struct {
		entry                    provider.Entry
		required, before, missed []string // of the app, and of the row
		named                    []string // by the reply; nil: none
		want                     []string
	}{
		"all are there":                            {required: []string{"a", "b"}, before: []string{"a", "b"}, named: []string{"b", "a", "c"}},
		"one is lost":                              {required: []string{"a", "b"}, before: []string{"a", "b"}, named: []string{"a"}, want: []string{"b"}},
		"one that is not required":                 {required: []string{"a"}, before: []string{"a", "b"}, named: []string{"a"}},
		"it stays lost":                            {required: []string{"a", "b"}, before: []string{"a"}, missed: []string{"b"}, named: []string{"a"}, want: []string{"b"}},
		"another one, too":                         {required: []string{"a", "b", "c"}, before: []string{"a", "c"}, missed: []string{"b"}, named: []string{"a"}, want: []string{"b", "c"}},
		"it comes back":                            {required: []string{"a", "b"}, before: []string{"a"}, missed: []string{"b"}, named: []string{"a", "b"}},
		"a reply that names none":                  {required: []string{"a", "b"}, before: []string{"a", "b"}},
		"a reply that names none keeps a loss":     {required: []string{"a", "b"}, before: []string{"a"}, missed: []string{"b"}, want: []string{"b"}},
		"the consent named none":                   {required: []string{"a", "b"}, named: []string{"a"}},
		"the consent never gave it":                {required: []string{"a", "b"}, before: []string{"a"}, named: []string{"a"}},
		"required since":                           {required: []string{"a", "new"}, before: []string{"a", "b"}, named: []string{"a"}},
		"no longer required":                       {required: []string{"a"}, before: []string{"a"}, missed: []string{"b"}, named: []string{"a"}},
		"no longer required, and none named":       {required: []string{"a"}, before: []string{"a"}, missed: []string{"b"}},
		"renamed":                                  {required: []string{"a", "b"}, before: []string{"a", "b"}, named: []string{"a", "b.v2"}},
		"renamed, after that":                      {required: []string{"a", "b"}, before: []string{"a", "b.v2"}, named: []string{"a", "b.v2"}},
		"renamed, and lost after that":             {required: []string{"a", "b"}, before: []string{"a", "b.v2"}, named: []string{"b.v2"}, want: []string{"a"}},
		"two lost, one new":                        {required: []string{"a", "b", "c"}, before: []string{"a", "b", "c"}, named: []string{"a", "b.v2"}, want: []string{"b", "c"}},
		"lost, and a known one instead":            {required: []string{"a", "b"}, before: []string{"a", "b", "c"}, named: []string{"a", "c"}, want: []string{"b"}},
		"lost, and one that is required instead":   {required: []string{"a", "b", "c"}, before: []string{"a", "b"}, named: []string{"a", "c"}, want: []string{"b"}},
		"lost before, and a new one":               {required: []string{"a", "b"}, before: []string{"a"}, missed: []string{"b"}, named: []string{"a", "x"}, want: []string{"b"}},
		"nothing is required":                      {before: []string{"a", "b"}, named: []string{"a"}},
		"a program from before stored what it got": {required: []string{"a", "b"}, before: []string{"a", "b"}, missed: []string{"b"}},
		"protocol scopes":                          {required: []string{"a", "openid", "offline_access"}, before: []string{"a", "openid", "offline_access"}, named: []string{"a"}},
		"in other words":                           {entry: words, required: []string{"A", "read_x", "baseline"}, before: []string{"a", "read_x", "baseline"}, named: []string{"https://x.example/a", "write_x"}},
		"in other words, lost":                     {entry: words, required: []string{"A", "read_x"}, before: []string{"a", "write_x"}, named: []string{"https://x.example/a"}, want: []string{"read_x"}},
	} {
		app := provider.App{Scopes: c.required, Provider: c.entry}
		row := perennial.Connection{Scopes: c.before, MissingScopes: c.missed}
		got := missingScopes(app, row, c.named)
		assert.ElementsMatch(t, c.want, got, name)
		judged := judgeScopes(app, row, c.named)
		if len(c.want) == len(c.missed) {
			assert.Nil(t, judged, "%s: the steady save names no more columns", name)
		} else if assert.NotNil(t, judged, name) {
			assert.Equal(t, nonNil(c.want), *judged, name)
		}
	}
}

// withScopes is a reply that names scopes; none: it names none.
func withScopes(n string, scopes ...string) provider.Reply {
	r := fresh(n)
	r.Tokens.Scopes = scopes
	return r
}

// TestScopesLost: a grant loses a permission, and has it again: each is one event. It is
// refreshed all the same, as a healthy connection. Also on the fast path, for a paused
// one, by a program from before, and by a new consent.
func TestScopesLost(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"postgres": testpg.URL(t), "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "scopes.db")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupOn(t, url, withScopes("2", "read", "write"), withScopes("3", "read"), withScopes("4"), withScopes("5", "read"),
				withScopes("6", "read", "write"), withScopes("7", "read"), withScopes("8", "read"))
			b.app.Scopes = []string{"read", "write"}
			b.app.Provider.Title = "Acme"
			generation := int64(0)
			next := func(missing ...string) perennial.Connection {
				t.Helper()
				generation++
				res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", App: "app", Generation: generation, Trigger: perennial.TriggerTimer})
				require.NoError(t, err)
				require.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
				row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
				require.NoError(t, err)
				require.Equal(t, missing, row.MissingScopes)
				require.Equal(t, perennial.HealthHealthy, row.Health)
				return row
			}
			events := func(want ...perennial.EventType) perennial.Event {
				t.Helper()
				all, err := b.db.Events(t.Context(), "con_1", 100)
				require.NoError(t, err)
				got := []perennial.EventType{}
				for _, e := range all {
					got = append(got, e.Type)
				}
				require.Equal(t, append(want, perennial.EventConnected), got)
				return all[0]
			}
			next()
			events()
			row := next("write")
			assert.Equal(t, []string{"read"}, row.Scopes)
			assert.Equal(t, perennial.StatusActive, row.Status)
			assert.Equal(t, "Connected: a permission is missing in Acme; what needs it does not work", row.Words("Acme").String())
			assert.Equal(t, "Reconnect Acme and grant every permission it asks for.", row.Words("Acme").Action)
			assert.Equal(t, []string{"write"}, events(perennial.EventScopesMissing).Data.MissingScopes)
			next("write")
			next("write")
			events(perennial.EventScopesMissing)
			next()
			assert.Empty(t, events(perennial.EventScopesRestored, perennial.EventScopesMissing).Data.MissingScopes)
			next("write")
			b.app.Scopes = []string{"read", "new"} // somebody changes the setting
			next()
			events(perennial.EventScopesRestored, perennial.EventScopesMissing, perennial.EventScopesRestored, perennial.EventScopesMissing)

			b.exec(t, "UPDATE connections SET missing_scopes = 'write'")
			tokens := withScopes("9", "read", "write").Tokens
			w, err := Tokens(b.keyring, b.app, row, 9, tokens, tokens.RefreshToken, time.Now())
			require.NoError(t, err)
			row, err = b.db.ReplaceTokens(t.Context(), perennial.WorkerAccess(), "con_1", "", 8, w)
			require.NoError(t, err)
			assert.Empty(t, row.MissingScopes, "a new consent")
			events(perennial.EventScopesRestored, perennial.EventScopesRestored, perennial.EventScopesMissing, perennial.EventScopesRestored, perennial.EventScopesMissing)
		})
	}
}

// TestScopesOfRecovered: a late success of a connection that waits for its user may bring
// fewer scopes: both changes have their event.
func TestScopesOfRecovered(t *testing.T) {
	t.Parallel()
	b := setup(t, withScopes("2", "read"))
	b.app.Scopes = []string{"read", "write"}
	b.exec(t, "UPDATE connections SET scopes = 'read write'")
	b.onSent = func() { b.exec(t, "UPDATE connections SET status = 'reconnect_required', reason = 'operator'") }
	require.True(t, b.refresh(t, t.Context(), 1).Recovered)
	all, err := b.db.Events(t.Context(), "con_1", 2)
	require.NoError(t, err)
	require.Len(t, all, 2)
	assert.ElementsMatch(t, []perennial.EventType{perennial.EventRecovered, perennial.EventScopesMissing}, []perennial.EventType{all[0].Type, all[1].Type})
}
