package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/stretchr/testify/require"
)

// glewlwyd calls Glewlwyd's API as its pages do. Each jar of cookies is somebody.
type glewlwyd struct{ base string }

// serveGlewlwyd starts Glewlwyd with its OpenID Connect plugin. oneUse is its setting
// refresh-token-one-use: never (the default of its page) or always.
func serveGlewlwyd(oneUse string, lifetime time.Duration) func(t *testing.T, redirectURI string) *server {
	return func(t *testing.T, redirectURI string) *server {
		t.Helper()
		port := freePort(t)
		p := newProxy(t, port, "/api/oidc/token")
		dir := t.TempDir()
		glewlwydFiles(t, dir, port, p.URL)
		g := &glewlwyd{base: fmt.Sprintf("http://127.0.0.1:%d", port)}
		start(t, dir, g.base+"/config", nil, program(t, "/usr/bin/glewlwyd"), "--config-file", "glewlwyd.conf")
		g.configure(t, oneUse, lifetime, p.URL, redirectURI)
		return &server{
			proxy: p,
			consent: func(t *testing.T, b *connecttest.Browser, authorize string) string {
				b.Do(http.MethodGet, authorize, nil, nil)
				g.login(t, b.Jar, "user", "user-password")
				g.call(t, b.Jar, http.MethodPut, "/auth/grant/"+clientID, map[string]any{"scope": "read"})
				return b.Do(http.MethodGet, authorize+"&g_continue", nil, nil).Location
			},
			alive: g.alive,
			end:   g.end,
		}
	}
}

// glewlwydFiles writes the configuration and the database, with the password of the
// administrator that the package's script sets.
func glewlwydFiles(t *testing.T, dir string, port int, external string) {
	t.Helper()
	schema, err := os.Open("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
	require.NoError(t, err, "run scripts/foreign")
	defer schema.Close()
	cmd := command(t, dir, nil, program(t, "sqlite3"), "glewlwyd.db")
	cmd.Stdin = io.MultiReader(strings.NewReader("PRAGMA synchronous=OFF;\n"), schema)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "glewlwyd.conf"), fmt.Appendf(nil, `
port=%d
bind_address="127.0.0.1"
external_url=%q
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=0
session_expiration=2419200
session_key="GLEWLWYD2_SESSION_ID"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
login_api_enabled=true
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
user_middleware_module_path="/usr/lib/glewlwyd/user_middleware"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
use_secure_connection=false
secure_connection_key_file="unused" # it does not start without the three
secure_connection_pem_file="unused"
secure_connection_ca_file="unused"
hash_algorithm="SHA512"
database={type="sqlite3" path="glewlwyd.db"};
`, port, external), 0o600))
}

// configure makes the plugin, a scope, a user and a client.
func (g *glewlwyd) configure(t *testing.T, oneUse string, lifetime time.Duration, issuer, redirectURI string) {
	t.Helper()
	admin, err := cookiejar.New(nil)
	require.NoError(t, err)
	g.login(t, admin, "admin", "password")
	post := func(path string, body map[string]any) { g.call(t, admin, http.MethodPost, path, body) }
	post("/mod/plugin/", map[string]any{"module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": true, "parameters": map[string]any{
		"iss": issuer, "jwt-type": "sha", "jwt-key-size": "256", "key": strings.Repeat("k", 32), "cert": "",
		"access-token-duration": int(lifetime.Seconds()), "refresh-token-duration": 1209600, "code-duration": 600,
		"refresh-token-rolling": true, "refresh-token-one-use": oneUse, "allow-non-oidc": true,
		"auth-type-code-enabled": true, "auth-type-refresh-enabled": true, "pkce-allowed": true, "pkce-required": true,
		"introspection-revocation-allowed": true, "introspection-revocation-allow-target-client": true, "subject-type": "public",
	}})
	post("/scope/", map[string]any{"name": "read", "display_name": "read", "password_required": true})
	post("/user/", map[string]any{"username": "user", "password": "user-password", "enabled": true, "scope": []string{"read", "openid", "g_profile"}})
	post("/client/", map[string]any{"client_id": clientID, "name": clientID, "confidential": true, "client_secret": clientSecret, "enabled": true,
		"redirect_uri": []string{redirectURI}, "authorization_type": []string{"code", "refresh_token"}, "scope": []string{"read"}, "token_endpoint_auth_method": []string{"client_secret_basic"}})
}

func (g *glewlwyd) login(t *testing.T, who http.CookieJar, user, password string) {
	t.Helper()
	g.call(t, who, http.MethodPost, "/auth/", map[string]any{"username": user, "password": password})
}

func (g *glewlwyd) call(t *testing.T, who http.CookieJar, method, path string, body any) []byte {
	t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, g.base+"/api"+path, bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Jar: who}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	told, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s %s: %s", method, path, told)
	return told
}

func (g *glewlwyd) alive(t *testing.T, token perennial.Secret) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.base+"/api/oidc/introspect", strings.NewReader(url.Values{"token": {token.Reveal()}}.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, clientSecret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var told struct{ Active bool }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&told))
	return told.Active
}

// end disables the user's refresh tokens, as the page of the profile does.
func (g *glewlwyd) end(t *testing.T) {
	t.Helper()
	user, err := cookiejar.New(nil)
	require.NoError(t, err)
	g.login(t, user, "user", "user-password")
	var all []struct {
		Hash    string `json:"token_hash"`
		Enabled bool   `json:"enabled"`
	}
	require.NoError(t, json.Unmarshal(g.call(t, user, http.MethodGet, "/oidc/token", nil), &all))
	for _, one := range all {
		if one.Enabled {
			g.call(t, user, http.MethodDelete, "/oidc/token/"+url.PathEscape(one.Hash), nil)
		}
	}
}
