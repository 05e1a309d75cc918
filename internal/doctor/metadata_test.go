package doctor_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/stretchr/testify/require"
)

// TestMetadata: what was never read, what has changed, what cannot be read for days, and a
// registered client whose secret ends.
func TestMetadata(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		c := newClinic(t, d)
		c.sees("metadata", doctor.Well, "no app's provider describes itself")
		raw, err := os.ReadFile(c.path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(c.path, []byte(strings.TrimSpace(string(raw))+"\n  - {name: tools, mcp: 'https://mcp.example/mcp'}\n"), 0o600))
		c.sources.Config, err = config.LoadWithoutSecrets(c.path, []string{"APP_SECRET=" + planted})
		require.NoError(t, err)
		c.sees("metadata", doctor.Wrong, "app tools: what https://mcp.example/mcp says about itself was never read, so nothing of the app can be used")

		const document = `{"issuer":"https://as.example","token_endpoint":"https://as.example/TOKEN","code_challenge_methods_supported":["S256"],"resource":"https://mcp.example/mcp","read_from":"https://as.example/x"}`
		d.Exec(t, "INSERT INTO provider_metadata (app, source, document, read_at, checked_at, next_check_at) VALUES ('tools', 'https://mcp.example/mcp', '"+document+"', "+c.ago(time.Hour)+", "+c.ago(time.Hour)+", "+c.ago(0)+")")
		c.sees("metadata", doctor.Well, "1 apps use what their providers say about themselves")
		d.Exec(t, "UPDATE provider_metadata SET changed_at = "+c.ago(time.Hour)+", changed = '"+strings.Replace(document, "TOKEN", "moved", 1)+"'")
		c.sees("metadata", doctor.Warning, `token_endpoint is "https://as.example/moved" now, and "https://as.example/TOKEN" is in use`)
		d.Exec(t, "UPDATE provider_metadata SET changed = '', problem = 'away', checked_at = "+c.ago(96*time.Hour))
		c.sees("metadata", doctor.Warning, "could not be read since ")
		d.Exec(t, "UPDATE provider_metadata SET problem = ''")
		d.Exec(t, "INSERT INTO provider_clients (app, issuer, registration, client_id, secret_expires_at) VALUES ('tools', 'https://as.example', 1, 'c', "+c.ago(-24*time.Hour)+")")
		c.sees("metadata", doctor.Warning, "the secret of its registered client ends at ")
	})
}
