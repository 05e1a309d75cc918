package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProviderThatDescribesItself: an operator sees what is in use and what waits, and
// takes just that change into use that he has seen.
func TestProviderThatDescribesItself(t *testing.T) {
	t.Parallel()
	var path atomic.Value
	path.Store("/token")
	issuer := httptest.NewServer(nil)
	t.Cleanup(issuer.Close)
	issuer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":"%s","scopes_supported":["openid"]}`, issuer.URL, issuer.URL+path.Load().(string))
	})
	dir := t.TempDir()
	configuration := filepath.Join(dir, "perennial.yaml")
	require.NoError(t, os.WriteFile(configuration, fmt.Appendf(nil, `database_url: sqlite:%s
keys: %s
allow_plaintext_keys: true
apps:
  - {name: intranet, issuer: "%s", client_id: id, client_secret_env: INTRANET_SECRET}
  - {name: hub, provider: hubspot, client_id: id, client_secret_env: HUB_SECRET}
`, filepath.Join(dir, "p.db"), filepath.Join(dir, "keys"), issuer.URL), 0o600))
	try := func(args ...string) (int, string) {
		code, out, err := perennialRun(nil, "", append(args, "--config", configuration)...)
		if err != nil {
			out += err.Error()
		}
		return code, out
	}
	do := func(args ...string) string {
		code, out := try(args...)
		require.Zero(t, code, out)
		return out
	}
	do("keys", "new")
	do("migrate")
	assert.Contains(t, do("provider", "show", "intranet"), "# what the provider says about itself has not been read yet")
	assert.Contains(t, do("app", "list"), "the provider's metadata: never read")
	assert.Contains(t, do("app", "show", "intranet"), "nothing of the app can be used")
	do("app", "stop", "intranet") // what needs no metadata works without them
	do("app", "start", "intranet")

	assert.Contains(t, do("provider", "read", "intranet"), "metadata of "+issuer.URL+"/.well-known/openid-configuration, read at ")
	out := do("provider", "show", "intranet")
	assert.Contains(t, out, "# it lists the scopes openid\n")
	assert.Contains(t, out, "token_url: "+issuer.URL+"/token\n")
	assert.Contains(t, out, "auth_style: header\n")
	assert.Contains(t, do("provider", "diff", "intranet"), "+ token_url: "+issuer.URL+"/token\n")

	path.Store("/moved")
	out = do("provider", "read", "intranet")
	change := regexp.MustCompile("`perennial provider accept intranet ([0-9a-f]{12})`").FindStringSubmatch(out)
	require.NotNil(t, change, out)
	assert.Contains(t, out, fmt.Sprintf(`token_endpoint is "%s/moved" now, and "%s/token" is in use`, issuer.URL, issuer.URL))
	assert.Contains(t, out, do("provider", "accept", "intranet"), "without the change's name nothing changes")
	assert.Contains(t, do("provider", "show", "intranet"), "token_url: "+issuer.URL+"/token\n")
	assert.Contains(t, do("app", "list"), "the provider's metadata have changed")
	var shown shownApp
	require.NoError(t, json.Unmarshal([]byte(do("app", "show", "intranet", "--json")), &shown))
	assert.Equal(t, []string{change[1], issuer.URL + "/token"}, []string{shown.Metadata.Change, shown.TokenURL})

	path.Store("/again")
	do("provider", "read", "intranet")
	code, out := try("provider", "accept", "intranet", change[1])
	assert.Equal(t, program.ExitCode(perennial.Errorf(perennial.CodeConflict, "x")), code, "another change waits by now")
	assert.Contains(t, out, "no change \""+change[1]+"\" waits")
	change = regexp.MustCompile("accept intranet ([0-9a-f]{12})`").FindStringSubmatch(do("provider", "accept", "intranet"))
	assert.Contains(t, do("provider", "accept", "intranet", change[1]), "token_endpoint: "+issuer.URL+"/again, was "+issuer.URL+"/token\n")
	out = do("provider", "show", "intranet")
	assert.Contains(t, out, "token_url: "+issuer.URL+"/again\n")
	assert.Contains(t, out, "(accepted by an operator at ")

	for _, command := range []string{"read", "accept"} {
		code, out = try("provider", command, "hub")
		assert.NotZero(t, code)
		assert.Contains(t, out, "its provider does not describe itself")
	}
}
