package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// perennialRun runs one command line inside this process.
func perennialRun(environ []string, in string, args ...string) (code int, out string, err error) {
	var stdout, stderr bytes.Buffer
	err = Run(context.Background(), args, environ, strings.NewReader(in), &stdout, &stderr)
	return program.ExitCode(err), stdout.String() + stderr.String(), err
}

func configured(t *testing.T) (path string, environ []string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "perennial.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `
database_url: "sqlite:%[1]s/perennial.db"
keys: %[1]s/keys
apps:
  - {name: app, provider: hubspot, client_id: id, client_secret_env: APP_SECRET}
`, dir), 0o600))
	return path, []string{"APP_SECRET=planted-client-secret", "TEMPORAL_ADDRESS=127.0.0.1:1"}
}

func TestCommandsSayWhatToDo(t *testing.T) {
	t.Parallel()
	path, environ := configured(t)
	with := func(args ...string) []string { return append(args, "--config", path) }
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"list", "--config", "nowhere.yaml"}, 2, "there is no configuration at nowhere.yaml"},
		{with("keys", "new"), 2, "--allow-plaintext"},
		{with("list"), 2, "allow_plaintext_keys"},
		{with("show"), 2, "perennial show --help"},
		{with("list", "--no-such-flag"), 2, "perennial list --help"},
	} {
		code, _, err := perennialRun(environ, "", c.args...)
		assert.Equal(t, c.code, code, "%v: %v", c.args, err)
		assert.ErrorContains(t, err, c.says)
	}
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	code, out, err := perennialRun(environ, "", with("keys", "new")...)
	require.NoError(t, err)
	assert.Zero(t, code)
	assert.Contains(t, out, "Keep a copy")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{with("keys", "new"), 4, "not overwritten"},
		{with("list"), 4, "perennial migrate"},
		{with("migrate"), 0, ""},
		{with("list"), 0, ""},
		{with("show", "con_none"), 3, "perennial list"},
		{with("connect", "--app", "app"), 6, "TEMPORAL_ADDRESS"},
		{with("healthcheck", "--url", "http://127.0.0.1:1/"), 6, "no worker answers"},
	} {
		code, _, err := perennialRun(environ, "", c.args...)
		assert.Equal(t, c.code, code, "%v: %v", c.args, err)
		if c.says != "" {
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "planted-client-secret")
		}
	}
}

// TestReconnectLink: one command makes one link, without Temporal.
func TestReconnectLink(t *testing.T) {
	t.Parallel()
	path, environ := configured(t)
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	do := func(args ...string) (int, string, error) {
		return perennialRun(environ, "", append(args, "--config", path)...)
	}
	for _, args := range [][]string{{"keys", "new"}, {"migrate"}} {
		_, _, err := do(args...)
		require.NoError(t, err)
	}
	code, _, err := do("reconnect-link", "con_1")
	require.Equal(t, 2, code)
	require.ErrorContains(t, err, "connect.base_url")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append([]byte("connect: {base_url: \"https://connect.example\", return_urls: [\"https://app.example/\"]}\n"), raw...), 0o600))
	code, _, err = do("reconnect-link", "con_1")
	require.Equal(t, 3, code, "%v", err)

	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(filepath.Dir(path), "perennial.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Insert(t.Context(), perennial.CommandLineAccess(), perennial.Connection{ID: "con_1", TenantID: "t1", App: "app", Provider: "hubspot", Host: "api.hubapi.com", AccountID: "62515"},
		store.TokenWrite{Generation: 1, SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("a"), RefreshTokenSealed: []byte("r"), RefreshTokenDigest: "d"}, ClientIDDigest: "c", Status: perennial.StatusActive})
	require.NoError(t, err)
	_, out, err := do("reconnect-link", "con_1", "--return", "https://app.example/settings", "--for", "2h")
	require.NoError(t, err)
	require.Regexp(t, `^https://connect\.example/connect/cl_[A-Za-z0-9_-]{43}\nIt works once, until \S+`, out)
	code, _, err = do("reconnect-link", "con_1", "--return", "https://evil.example/")
	require.Equal(t, 2, code)
	require.ErrorContains(t, err, "connect.return_urls")
	code, _, _ = do("reconnect-link", "con_1", "--for", "25h")
	require.Equal(t, 2, code)
}

// TestAppCommands: an operator sees an app's troubles and ends them.
func TestAppCommands(t *testing.T) {
	t.Parallel()
	path, environ := configured(t)
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	do := func(args ...string) string {
		t.Helper()
		code, out, err := perennialRun(environ, "", append(args, "--config", path)...)
		require.NoError(t, err)
		require.Zero(t, code)
		return out
	}
	do("keys", "new")
	do("migrate")
	assert.Contains(t, do("app", "list"), "app  hubspot")
	do("app", "hold", "app")
	assert.Contains(t, do("app", "list"), "hold_terminal since")
	shown := do("app", "show", "app")
	assert.Contains(t, shown, "by hand")
	assert.Contains(t, shown, "perennial app confirm")
	assert.Contains(t, do("app", "show", "app", "--json"), `"hold_terminal": true`)
	do("app", "release", "app")
	assert.NotContains(t, do("app", "list"), "hold_terminal")
	do("app", "hold", "app")
	do("app", "confirm", "app")
	assert.NotContains(t, do("app", "list"), "hold_terminal")
	assert.Contains(t, do("events"), "app.hold_ended")
	code, _, err := perennialRun(environ, "", "app", "hold", "another", "--config", path)
	assert.Equal(t, 3, code)
	assert.ErrorContains(t, err, "there are: app")
}

// TestAPIKeyCommands: a key is shown once, and only its hash is stored.
func TestAPIKeyCommands(t *testing.T) {
	t.Parallel()
	path, environ := configured(t)
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	do := func(args ...string) (int, string) {
		t.Helper()
		code, out, err := perennialRun(environ, "", append(args, "--config", path)...)
		if err != nil {
			out += err.Error()
		}
		return code, out
	}
	for _, args := range [][]string{{"keys", "new"}, {"migrate"}} {
		code, out := do(args...)
		require.Zero(t, code, out)
	}
	code, out := do("apikey", "create", "--tenant", "acme", "--scopes", "tokens:read,connections:write", "--name", "sync jobs")
	require.Zero(t, code, out)
	key := strings.Fields(out)[1]
	require.Regexp(t, `^pk_[0-9a-f]{16}_[0-9a-f]{64}$`, key)
	id := key[:strings.LastIndex(key, "_")]
	_, list := do("apikey", "list")
	assert.Contains(t, list, id)
	assert.Contains(t, list, "tokens:read,connections:write")
	assert.Contains(t, list, "sync jobs")
	_, asJSON := do("apikey", "list", "--json", "--tenant", "acme")
	for _, shown := range []string{list, asJSON} {
		assert.NotContains(t, shown, key[len(id)+1:])
	}
	_, others := do("apikey", "list", "--tenant", "other")
	assert.NotContains(t, others, id)
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(path), "perennial.db"))
	require.NoError(t, err)
	assert.NotContains(t, string(raw), key[len(id)+1:])
	code, out = do("apikey", "revoke", id)
	require.Zero(t, code)
	assert.Contains(t, out, "within 3s")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{3, "apikey list", []string{"apikey", "revoke", "pk_none"}},
		{2, "--tenant", []string{"apikey", "create", "--scopes", "admin"}},
		{2, "--every-tenant", []string{"apikey", "create", "--scopes", "admin", "--tenant="}},
		{2, "--every-tenant", []string{"apikey", "create", "--scopes", "admin", "--tenant", "acme", "--every-tenant"}},
		{2, "--apps", []string{"apikey", "create", "--scopes", "admin", "--tenant", "acme", "--apps="}},
		{2, "--apps", []string{"apikey", "create", "--scopes", "admin", "--tenant", "acme", "--apps", "no such app"}},
		{2, "--expires-in", []string{"apikey", "create", "--scopes", "admin", "--tenant", "acme", "--expires-in", "-1h"}},
		{2, "--tenant is empty", []string{"webhook", "add", "https://example.com/hook", "--tenant="}},
		{2, "--scopes", []string{"apikey", "create", "--tenant", "acme"}},
		{2, "there are: tokens:read", []string{"apikey", "create", "--tenant", "acme", "--scopes", "root"}},
	} {
		code, out = do(c.args...)
		assert.Equal(t, c.code, code)
		assert.Contains(t, out, c.says)
	}
}

// TestWebhookCommands: an endpoint's secret is shown once, when it is made.
func TestWebhookCommands(t *testing.T) {
	t.Parallel()
	path, environ := configured(t)
	environ = append(environ, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
	do := func(args ...string) string {
		t.Helper()
		code, out, err := perennialRun(environ, "", append(args, "--config", path)...)
		require.NoError(t, err)
		require.Zero(t, code)
		return out
	}
	do("keys", "new")
	do("migrate")
	added := strings.Fields(do("webhook", "add", "https://8.8.8.8/hook", "--tenant", "t1", "--events", "connection.recovered,connection.failing"))
	id, secret := added[1], added[3]
	require.True(t, strings.HasPrefix(secret, "whsec_"))
	for _, args := range [][]string{{"webhook", "list"}, {"webhook", "list", "--json", "--tenant", "t1"}, {"webhook", "deliveries"}, {"webhook", "deliveries", "--dead", "--json"}} {
		assert.NotContains(t, do(args...), secret)
	}
	assert.Contains(t, do("webhook", "list"), "connection.recovered,connection.failing")
	assert.NotContains(t, do("webhook", "list", "--tenant", "t2"), id)
	rotated := do("webhook", "rotate", id, "--keep", "1h")
	assert.Contains(t, rotated, "whsec_")
	assert.NotContains(t, rotated, secret)
	do("webhook", "remove", id)
	assert.NotContains(t, do("webhook", "list"), id)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"webhook", "add", "https://127.0.0.1/"}, 2, "notify: allow_private"},
		{[]string{"webhook", "add", "http://8.8.8.8/"}, 2, "https://"},
		{[]string{"webhook", "add", "https://8.8.8.8/", "--events", "x"}, 2, "connection.recovered"},
		{[]string{"webhook", "remove", id}, 3, "perennial webhook list"},
		{[]string{"webhook", "redeliver", "evt_none", id}, 3, "perennial webhook deliveries"},
	} {
		code, _, err := perennialRun(environ, "", append(c.args, "--config", path)...)
		assert.Equal(t, c.code, code, "%v: %v", c.args, err)
		assert.ErrorContains(t, err, c.says)
	}
}

type summary struct {
	Generations []int64  `json:"generations"`
	WorkflowIDs []string `json:"workflow_ids"`
	FirstRunIDs []string `json:"first_run_ids"`
	Refreshes   int64    `json:"refreshes"`
	Oracle      int64    `json:"oracle_refreshes"`
	History     int64    `json:"history_refreshes"`
}

// TestDevOutlivesKill kills everything that dev started with SIGKILL while it works,
// and starts it again: the same workflows continue and the story runs to its end.
func TestDevOutlivesKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "perennial")
	out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput()
	require.NoError(t, err, string(out))
	state := filepath.Join(dir, "state")

	first := exec.Command(binary, "dev", "--dir", state, "--json")
	first.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, first.Start())
	type listed struct {
		ID         string `json:"id"`
		Generation int64  `json:"generation"`
	}
	before := map[string]int64{}
	require.Eventually(t, func() bool {
		raw, err := exec.Command(binary, "list", "--json", "--config", filepath.Join(state, "perennial.yaml")).Output()
		var list []listed
		if err != nil || json.Unmarshal(raw, &list) != nil {
			return false
		}
		grown := 0
		for _, c := range list {
			before[workflows.ID(c.ID)] = c.Generation
			if c.Generation > 1 {
				grown++
			}
		}
		return grown >= 3
	}, 2*time.Minute, 500*time.Millisecond)
	runs := firstRuns(t, state, before)
	require.NoError(t, first.Process.Kill())
	require.Error(t, first.Wait())
	assert.Equal(t, syscall.SIGKILL, first.ProcessState.Sys().(syscall.WaitStatus).Signal())

	second := exec.Command(binary, "dev", "--dir", state, "--for", "60s", "--json")
	second.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	second.Stderr = &stderr
	raw, err := second.Output()
	require.NoError(t, err, "%s%s", raw, stderr.String())
	var sum summary
	require.NoError(t, json.Unmarshal(raw, &sum))
	assert.Equal(t, sum.Refreshes, sum.Oracle)
	assert.Equal(t, sum.Refreshes, sum.History)
	require.Len(t, sum.WorkflowIDs, len(before))
	for i, id := range sum.WorkflowIDs {
		assert.Greater(t, sum.Generations[i], before[id], id)
		assert.Equal(t, runs[id], sum.FirstRunIDs[i], "still the same workflow")
	}
}

func firstRuns(t *testing.T, state string, ids map[string]int64) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(state, "dev.json"))
	require.NoError(t, err)
	var saved struct {
		Port int `json:"temporal_port"`
	}
	require.NoError(t, json.Unmarshal(raw, &saved))
	c, err := client.Dial(client.Options{HostPort: fmt.Sprintf("127.0.0.1:%d", saved.Port)})
	require.NoError(t, err)
	defer c.Close()
	out := map[string]string{}
	for id := range ids {
		d, err := c.DescribeWorkflowExecution(context.Background(), id, "")
		require.NoError(t, err)
		out[id] = d.WorkflowExecutionInfo.FirstRunId
	}
	return out
}
