package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/knownwrong"
	"github.com/stretchr/testify/require"
)

// TestReportedSettings: what users needed to configure for a provider that the
// catalogue does not have. Some of it is not possible yet.
func TestReportedSettings(t *testing.T) {
	t.Parallel()
	const base = `database_url: sqlite:p.db
keys: keys
apps:
  - name: acme
    provider: generic
    client_id: id
    client_secret_env: ACME_SECRET
    auth_url: https://acme.example/authorize
    token_url: https://acme.example/token
    auth_style: params
`
	for line, today := range map[string][]string{
		"spellings: [{http_status: 400, code: invalid_request, contains: refresh_token, outcome: revoked}]": nil,
		"refresh_params: {scope: api offline_access}":                                                       nil,
		"tokens_under: data":                                nil,
		"refresh_kills_access_token: true":                  nil,
		"scope_separator: ','":                              nil,
		"json_body: true":                                   nil,
		"api_spellings: [{http_status: 403, means: token}]": {"unknown key"},
		"default_lifetime: 1h":                              nil,
		"auth_params: {access_type: offline}":               nil,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "perennial.yaml")
			require.NoError(t, os.WriteFile(path, []byte(base+"    "+line+"\n"), 0o600))
			_, err := config.LoadEnviron(path, []string{"ACME_SECRET=s"})
			problem := ""
			if err != nil {
				problem = "another problem: " + err.Error()
				if strings.Contains(problem, "unknown key") {
					problem = "unknown key"
				}
			}
			knownwrong.Equal(t, problem, "", today...)
		})
	}
}
