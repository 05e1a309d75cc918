package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProviderCommands: the catalogue, an app and a file can be looked at and compared
// without a database, Temporal and secrets.
func TestProviderCommands(t *testing.T) {
	t.Parallel()
	configuration, _ := configured(t)
	raw, err := os.ReadFile(configuration)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(configuration, []byte(strings.Replace(string(raw), "provider: hubspot", "provider: hubspot, replay_class: grace, grace_window: 10m", 1)), 0o600))
	do := func(args ...string) (int, string) {
		code, out, err := perennialRun(nil, "", append(append([]string{"provider"}, args...), "--config", configuration)...)
		if err != nil {
			out += err.Error()
		}
		return code, out
	}
	file := filepath.Join(t.TempDir(), "hubspot.yaml")
	shown := func(name string) string {
		code, out := do("show", name)
		require.Zero(t, code, out)
		return out
	}

	code, out := do("list")
	require.Zero(t, code)
	for _, name := range provider.Names() {
		assert.Contains(t, out, "\n"+name+" ")
	}
	var listed []shownProvider
	_, out = do("list", "--json")
	require.NoError(t, json.Unmarshal([]byte(out), &listed))
	require.Len(t, listed, len(provider.Names()))

	// What show prints is a file that check takes, and that says the same.
	require.NoError(t, os.WriteFile(file, []byte(shown("hubspot")), 0o600))
	code, out = do("check", file)
	require.Zero(t, code, out)
	assert.Contains(t, out, "hubspot.yaml is a whole description: replay class unknown. Of ten facts, ")
	_, out = do("diff", file)
	assert.Equal(t, "They say the same.\n", out)

	// An app's description is the catalogue's with its own keys, also if it has the name of
	// its provider.
	named := filepath.Join(t.TempDir(), "named.yaml")
	mine, err := os.ReadFile(configuration)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(named, []byte(strings.Replace(string(mine), "name: app,", "name: hubspot,", 1)), 0o600))
	ask := func(args ...string) string {
		code, out, err := perennialRun(nil, "", append(append([]string{"provider"}, args...), "--config", named)...)
		require.NoError(t, err)
		require.Zero(t, code)
		return out
	}
	assert.Contains(t, ask("show", "hubspot"), "grace_window: 10m")
	assert.NotContains(t, ask("show", "catalogue:hubspot"), "grace_window: 10m")
	assert.Contains(t, ask("diff", "hubspot"), "grace_window")
	assert.Contains(t, ask("show", "xero"), "title: Xero", "an entry that no app is named after")
	assert.Contains(t, shown("app"), "grace_window: 10m")
	for _, args := range [][]string{{"app"}, {"hubspot", "app"}, {file, "app"}} {
		code, out = do(append([]string{"diff"}, args...)...)
		require.Zero(t, code)
		assert.Contains(t, out, "~ replay_class: grace, was unknown\n    It decides what happens after a refresh whose reply was lost")
		assert.Contains(t, out, "+ grace_window: 10m\n")
	}

	require.NoError(t, os.WriteFile(file, []byte(shown("hubspot")+"tokens_undr: x\nreplay_class: maybe\n"), 0o600))
	for says, args := range map[string][]string{
		`hubspot.yaml:`:                     {"check", file},
		`this key is given already at line`: {"show", file},
		"no such file":                      {"check", file + ".yaml"},
		"perennial provider diff --help":    {"diff"},
		"; did you mean hubspot?":           {"show", "hubspt"},
		`there is no command "shw"`:         {"shw"},
		"say what to compare it with":       {"diff", acme(t)},
	} {
		code, out = do(args...)
		want := 2
		if strings.Contains(says, "did you mean") {
			want = 3
		}
		assert.Equal(t, want, code, args)
		assert.Contains(t, out, says)
	}
}

func acme(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "acme.yaml")
	require.NoError(t, os.WriteFile(path, []byte("title: Acme\ntoken_url: https://acme.example/t\nauth_style: header\nreplay_class: unknown\nreplay_source: not documented\n"), 0o600))
	return path
}

// TestShownProviderIsWhole: a provider's facts all arrive.
func TestShownProviderIsWhole(t *testing.T) {
	t.Parallel()
	e := fill.Of[provider.Entry]()
	e.Evidence = []provider.Evidence{{Facts: []string{"replay", "lifetime"}, By: "provider"}, {Facts: []string{"refusal"}, By: "measured"}, {Facts: []string{"rate_limit", "lifetime"}, By: "third_party"}, {Facts: []string{"account", "replay"}, By: "not_documented"}, {Facts: []string{"endpoints"}, By: "provider"}}
	shown := showProvider(e)
	assert.Empty(t, fill.Zeros(shown))
	assert.Equal(t, 5, shown.Facts, "each once, and of the ten only")
	assert.Equal(t, "2 by the provider, 1 measured, 1 by others, 1 not documented, 5 not looked up", shown.counts())
}

// TestRevokedText: a grant that Perennial could not end is left to the customer, with the
// place where the provider lets them do so.
func TestRevokedText(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{Apps: []provider.App{{Name: "app", Provider: provider.Entry{RemoveAccess: "https://p.example/apps"}}, {Name: "bare"}}}
	const there = " The customer removes it here: https://p.example/apps"
	for revocation, left := range map[perennial.Revocation]bool{perennial.RevocationDone: false, perennial.RevocationNone: false, perennial.RevocationFailed: true, perennial.RevocationUnsupported: true} {
		assert.Equal(t, left, strings.HasSuffix(revokedText(cfg, "app", revocation), there), revocation)
		assert.Equal(t, revoked[revocation], revokedText(cfg, "bare", revocation))
		assert.Equal(t, revoked[revocation], revokedText(cfg, "gone", revocation))
	}
}
