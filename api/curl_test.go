package api_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestCurl runs the examples of docs/api.md, in their order.
func TestCurl(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/api.md")
	require.NoError(t, err)
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	con := w.Connect("acme")
	w.Exec("UPDATE connections SET last_refreshed_at = now() - interval '5 minutes'") // old enough to be refreshed
	blocks := shellBlock.FindAllStringSubmatch(string(raw), -1)
	require.Len(t, blocks, 7)
	for i, says := range []string{`"account_id":"62515"`, `"access_token":"planted-access-token-1"`, `"access_token":"planted-access-token-2"`, `"result":"newer"`,
		`"connections":[{`, `"attempts":[`, `"status":"disconnected"`} {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", blocks[i][1])
		cmd.Env = append(os.Environ(), "PERENNIAL_URL="+w.URL(), "PERENNIAL_KEY="+key, "ID="+con.ID)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s%s", blocks[i][1], out)
		assert.Contains(t, string(out), says)
	}
}

// TestEveryCodeIsDocumented: docs/api.md names every code that a problem may have.
func TestEveryCodeIsDocumented(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/api.md")
	require.NoError(t, err)
	for code, status := range api.Statuses {
		if code == perennial.CodeSchema { // a program that finds an old schema does not start
			continue
		}
		assert.True(t, strings.Contains(string(raw), "`"+string(code)+"`"), "%s (%d)", code, status)
	}
}
