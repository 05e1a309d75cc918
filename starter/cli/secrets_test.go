package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/store"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leaves returns the commands that have no subcommands, by path without the program's
// name.
func leaves(cmd *cobra.Command) map[string]*cobra.Command {
	out := map[string]*cobra.Command{}
	if !cmd.HasSubCommands() {
		_, path, _ := strings.Cut(cmd.CommandPath(), " ")
		out[path] = cmd
	}
	for _, sub := range cmd.Commands() {
		if sub.Name() == "help" || sub.Name() == "completion" {
			continue // one of cobra's own
		}
		for path, leaf := range leaves(sub) {
			out[path] = leaf
		}
	}
	return out
}

// prepared returns a migrated SQLite database with one connection, con_1, of the app.
func prepared(t *testing.T) (path string, environ []string, rows *store.Store) {
	t.Helper()
	path, environ = configured(t)
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	for _, args := range [][]string{{"keys", "new"}, {"migrate"}} {
		_, _, err := perennialRun(environ, "", append(args, "--config", path)...)
		require.NoError(t, err)
	}
	rows = store.New(databaseOf(t, path))
	insert(t, rows, "con_1", "t1", "app")
	return path, environ, rows
}

// databaseOf opens the database of a configuration.
func databaseOf(t *testing.T, file string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(filepath.Dir(file), "perennial.db"), db.Pool{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func insert(t *testing.T, rows *store.Store, id, tenant, app string) {
	t.Helper()
	_, err := rows.Insert(t.Context(), perennial.CommandLineAccess(), perennial.Connection{ID: id, TenantID: tenant, App: app, Provider: "hubspot", Host: "api.hubapi.com", AccountID: "of " + id},
		store.TokenWrite{Generation: 1, SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("a"), RefreshTokenSealed: []byte("r"), RefreshTokenDigest: "d"}, ClientIDDigest: "c", Status: perennial.StatusActive})
	require.NoError(t, err)
}

// TestSecrets: the table says which commands need an app's client secret. Every command
// must be in it, so a new one must choose. Only a command that presents something to a
// provider may need one.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const (
		needs  = true
		looks  = false
		itsOwn = "it makes a configuration of its own"
	)
	ready := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ready\n")) }))
	t.Cleanup(ready.Close)
	table := map[string]struct {
		secret bool
		code   int
		args   []string
		except string
	}{
		"migrate":            {secret: looks},
		"keys new":           {secret: looks, code: program.ExitRefused},
		"keys rotate":        {secret: looks},
		"setup":              {secret: looks, code: program.ExitUnavailable},
		"connect":            {secret: looks, code: program.ExitUnavailable},
		"reconnect":          {secret: looks, code: program.ExitUnavailable, args: []string{"con_1"}},
		"reconnect-link":     {secret: looks, code: program.ExitUsage, args: []string{"con_1"}}, // no connect.base_url
		"list":               {secret: looks},
		"show":               {secret: looks, args: []string{"con_1"}},
		"refresh":            {secret: looks, code: program.ExitUnavailable, args: []string{"con_1"}},
		"pause":              {secret: looks, code: program.ExitUnavailable, args: []string{"con_1"}},
		"resume":             {secret: looks, code: program.ExitUnavailable, args: []string{"con_1"}},
		"give-up":            {secret: looks, code: program.ExitUnavailable, args: []string{"con_1"}},
		"recover":            {secret: looks, code: program.ExitUnavailable, args: []string{"con_1"}},
		"disconnect":         {secret: needs, args: []string{"con_1"}},
		"cadence":            {secret: looks, code: program.ExitUnavailable, args: []string{"con_1", "always"}},
		"app list":           {secret: looks},
		"app show":           {secret: looks, args: []string{"app"}},
		"app hold":           {secret: looks, args: []string{"app"}},
		"app release":        {secret: looks, args: []string{"app"}},
		"app stop":           {secret: looks, args: []string{"app"}},
		"app start":          {secret: looks, args: []string{"app"}},
		"app close":          {secret: looks, code: program.ExitRefused, args: []string{"app"}},
		"app probe":          {secret: looks, code: program.ExitUnavailable, args: []string{"app"}},
		"app confirm":        {secret: looks, args: []string{"app"}},
		"provider list":      {secret: looks},
		"provider show":      {secret: looks, args: []string{"app"}},
		"provider check":     {secret: looks, args: []string{acme(t)}},
		"provider diff":      {secret: looks, args: []string{"app"}},
		"provider read":      {secret: looks, args: []string{"app"}, code: program.ExitUsage}, // its provider does not describe itself
		"provider accept":    {secret: looks, args: []string{"app"}, code: program.ExitUsage},
		"provider try":       {secret: needs, args: []string{"app", "--code", "x", "--redirect-uri", "https://app.example/back"}},
		"provider measure":   {secret: needs, args: []string{"app", "--redirect-uri", "https://app.example/back"}},
		"provider register":  {secret: looks, args: []string{"app"}, code: program.ExitUsage},
		"events":             {secret: looks},
		"webhook add":        {secret: looks, args: []string{"https://8.8.8.8/"}},
		"webhook list":       {secret: looks},
		"webhook rotate":     {secret: looks, code: program.ExitNotFound, args: []string{"whe_none"}},
		"webhook remove":     {secret: looks, code: program.ExitNotFound, args: []string{"whe_none"}},
		"webhook deliveries": {secret: looks},
		"webhook redeliver":  {secret: looks, code: program.ExitNotFound, args: []string{"evt_none", "whe_none"}},
		"apikey create":      {secret: looks, args: []string{"--tenant", "t1", "--scopes", "admin"}},
		"apikey list":        {secret: looks},
		"apikey revoke":      {secret: looks, code: program.ExitNotFound, args: []string{"pk_none"}},
		"binding":            {secret: looks, code: program.ExitUnavailable},
		"adopt":              {secret: looks, code: program.ExitUnavailable},
		"move":               {args: []string{"--from", "old"}, secret: looks, code: program.ExitUnavailable},
		"restored":           {secret: looks, code: program.ExitUnavailable},
		"end-missing":        {args: []string{"con_1"}, secret: looks, code: program.ExitUnavailable},
		"processes":          {secret: looks},
		"healthcheck":        {secret: looks, args: []string{"--url", ready.URL}},
		"doctor":             {secret: looks, code: program.ExitRefused}, // its row does not open
		"worker":             {secret: needs},
		"server":             {secret: needs},
		"dev":                {except: itsOwn},
	}
	commands := leaves(newCommand(&shell{in: strings.NewReader(""), out: io.Discard, errOut: io.Discard}))
	for path := range table {
		assert.Contains(t, commands, path)
	}
	for path := range commands {
		tc, listed := table[path]
		assert.True(t, listed, "%q is not in the table: say whether it needs a client secret", path)
		if !listed || tc.except != "" {
			continue
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			file, environ, _ := prepared(t)
			environ = slices.DeleteFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, "APP_SECRET=") })
			code, _, err := perennialRun(environ, "", slices.Concat(strings.Fields(path), tc.args, []string{"--config", file})...)
			if tc.secret {
				assert.Equal(t, program.ExitUsage, code, "%v", err)
				assert.ErrorContains(t, err, "client_secret_env names the variable APP_SECRET, which is not set")
				return
			}
			assert.Equal(t, tc.code, code, "%v", err)
			if err != nil {
				assert.NotContains(t, err.Error(), "APP_SECRET")
			}
		})
	}
}

// TestDisconnectNeedsItsOwnSecret: disconnect needs neither another app's secret nor
// one for a provider without a revocation endpoint.
func TestDisconnectNeedsItsOwnSecret(t *testing.T) {
	t.Parallel()
	file, environ, db := prepared(t)
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(raw, []byte("  - {name: other, provider: quickbooks, client_id: id, client_secret_env: OTHER_SECRET}\n"+
		"  - {name: plain, provider: generic, client_id: id, client_secret_env: PLAIN_SECRET, auth_url: \"https://a.example/a\", token_url: \"https://a.example/t\", auth_style: header, replay_class: unknown}\n")...), 0o600))
	insert(t, db, "con_other", "t1", "other")
	insert(t, db, "con_plain", "t1", "plain")
	for id, want := range map[string]int{"con_1": program.ExitUnavailable, "con_other": program.ExitUsage, "con_plain": program.ExitUnavailable} {
		code, _, err := perennialRun(environ, "", "disconnect", id, "--config", file)
		assert.Equal(t, want, code, "%s: %v", id, err)
	}
}

// TestKeysNeedNoApp: a new user makes the keys before any app is configured.
func TestKeysNeedNoApp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "perennial.yaml")
	require.NoError(t, os.WriteFile(file, []byte("database_url: sqlite:"+dir+"/p.db\nkeys: "+dir+"/keys\n"), 0o600))
	_, out, err := perennialRun(nil, "", "keys", "new", "--allow-plaintext", "--config", file)
	require.NoError(t, err)
	assert.Contains(t, out, "Keep a copy")
}
