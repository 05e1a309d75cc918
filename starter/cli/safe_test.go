package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestForeignText: text in a row can neither control the terminal nor forge a row of
// the table, and JSON shows it unchanged.
func TestForeignText(t *testing.T) {
	t.Parallel()
	path, environ := configured(t)
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	do := func(args ...string) string {
		t.Helper()
		_, out, err := perennialRun(environ, "", append(args, "--config", path)...)
		require.NoError(t, err)
		return out
	}
	do("keys", "new")
	do("migrate")
	const foreign = "\x1b]0;owned\a\u009b2J\u202eltr\x7f\ncon_9  forged"
	d := databaseOf(t, path)
	// An older release accepted such text.
	_, err := store.New(d).Insert(t.Context(), perennial.CommandLineAccess(), perennial.Connection{ID: "con_1", TenantID: "t1" + foreign, App: "app", Provider: "hubspot", Host: "api.hubapi.com", AccountID: foreign},
		store.TokenWrite{Generation: 1, SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("a"), RefreshTokenSealed: []byte("r"), RefreshTokenDigest: "d"}, ClientIDDigest: "c", Status: perennial.StatusActive})
	require.NoError(t, err)
	_, err = notify.NewStore(d).AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: "whe_1", TenantID: "t1" + foreign, URL: "https://x.example/" + foreign, SecretSealed: []byte("s")})
	require.NoError(t, err)
	for _, args := range [][]string{{"list"}, {"show", "con_1"}, {"events"}, {"webhook", "list"}, {"webhook", "deliveries"}, {"apikey", "list"}} {
		for line := range strings.Lines(do(args...)) {
			assert.True(t, printable.Is(strings.TrimSuffix(line, "\n")), "%v: %q", args, line)
			assert.NotRegexp(t, "^con_9", line, "%v", args)
		}
		out := do(append(args, "--json")...)
		for line := range strings.Lines(out) {
			assert.True(t, printable.Is(strings.TrimSuffix(line, "\n")), "%v --json: %q", args, line)
		}
		var whole any
		require.NoError(t, json.Unmarshal([]byte(out), &whole), "%v", args)
	}
	assert.Contains(t, do("list"), `\x1b]0;owned\x07\u009b2J\u202eltr\x7f\x0acon_9  forged`)
	var shown struct {
		AccountID string `json:"account_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(do("show", "con_1", "--json")), &shown))
	assert.Equal(t, foreign, shown.AccountID)

	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	dirty := filepath.Join(t.TempDir(), "perennial.yaml")
	require.NoError(t, os.WriteFile(dirty, []byte(strings.Replace(string(raw), "/keys\n", "/keys\u202e\n", 1)), 0o600))
	code, _, err := perennialRun(environ, "", "apikey", "create", "--tenant", "t1", "--scopes", "admin", "--name", foreign, "--config", path)
	assert.Equal(t, 2, code)
	assert.ErrorContains(t, err, "invisible characters")

	_, out, err := perennialRun(environ, "", "keys", "new", "--if-missing", "--config", dirty)
	require.NoError(t, err)
	assert.Contains(t, out, `keys\u202e`, "outside of tables too")
}
