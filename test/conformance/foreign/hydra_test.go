package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/require"
)

// hydra is a running Ory Hydra. The test plays its login and consent application.
type hydra struct{ admin string }

// serveHydra starts Hydra with a grace period; "0s" is its default.
func serveHydra(grace string) func(t *testing.T, redirectURI string) *server {
	return func(t *testing.T, redirectURI string) *server {
		t.Helper()
		path, err := Hydra.Path(t.Context(), os.Stderr)
		require.NoError(t, err)
		public, admin := freePort(t), freePort(t)
		p := newProxy(t, public, "/oauth2/token")
		env := []string{
			"DSN=" + testpg.URL(t), "SECRETS_SYSTEM=0123456789abcdef0123456789abcdef",
			fmt.Sprint("SERVE_PUBLIC_PORT=", public), "SERVE_PUBLIC_HOST=127.0.0.1", fmt.Sprint("SERVE_ADMIN_PORT=", admin), "SERVE_ADMIN_HOST=127.0.0.1",
			"URLS_SELF_ISSUER=" + p.URL, "URLS_LOGIN=" + p.URL + "/login", "URLS_CONSENT=" + p.URL + "/consent",
			"OAUTH2_GRANT_REFRESH_TOKEN_ROTATION_GRACE_PERIOD=" + grace,
			"SQA_OPT_OUT=true", "LOG_LEVEL=warn",
		}
		out, err := command(t, t.TempDir(), env, path, "migrate", "sql", "-e", "--yes").CombinedOutput()
		require.NoError(t, err, "%s", out)
		h := &hydra{admin: fmt.Sprintf("http://127.0.0.1:%d/admin", admin)}
		start(t, t.TempDir(), fmt.Sprintf("http://127.0.0.1:%d/health/ready", admin), env, path, "serve", "all", "--dev")
		h.call(t, http.MethodPost, "/clients", map[string]any{"client_id": clientID, "client_secret": clientSecret, "redirect_uris": []string{redirectURI},
			"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "scope": "openid offline_access",
			"token_endpoint_auth_method": "client_secret_basic"})
		return &server{
			proxy:   p,
			consent: h.consent,
			alive: func(t *testing.T, token perennial.Secret) bool {
				resp, err := http.PostForm(h.admin+"/oauth2/introspect", url.Values{"token": {token.Reveal()}})
				require.NoError(t, err)
				defer resp.Body.Close()
				var told struct{ Active bool }
				require.NoError(t, json.NewDecoder(resp.Body).Decode(&told))
				return told.Active
			},
			end: func(t *testing.T) {
				h.call(t, http.MethodDelete, "/oauth2/auth/sessions/consent?subject=user&all=true", nil)
			},
		}
	}
}

// call calls the admin API.
func (h *hydra) call(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, h.admin+path, bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Less(t, resp.StatusCode, 300, "%s %s", method, path)
	var told map[string]any
	if resp.StatusCode != http.StatusNoContent {
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&told))
	}
	return told
}

// consent logs the user in and consents to whatever is asked for. On a busy machine Hydra
// has ended one with an error of its own; a user would begin again, and so does consent.
func (h *hydra) consent(t *testing.T, b *connecttest.Browser, authorize string) (at string) {
	t.Helper()
	for range 3 {
		var trouble string
		if at, trouble = h.agree(t, b, authorize); strings.Contains(at, "code=") {
			return at
		}
		t.Logf("Hydra ended a consent: %s %s", at, trouble)
	}
	require.Contains(t, at, "code=")
	return at
}

// agree is one consent. It returns where the browser is sent, or what it shows instead.
func (h *hydra) agree(t *testing.T, b *connecttest.Browser, authorize string) (at, trouble string) {
	t.Helper()
	page := b.Do(http.MethodGet, authorize, nil, nil)
	for _, kind := range []string{"login", "consent"} {
		u, err := url.Parse(page.Location)
		require.NoError(t, err)
		challenge := u.Query().Get(kind + "_challenge")
		if challenge == "" {
			break // it is an error
		}
		query := url.Values{kind + "_challenge": {challenge}}.Encode()
		answer := map[string]any{"subject": "user"}
		if kind == "consent" {
			asked := h.call(t, http.MethodGet, "/oauth2/auth/requests/consent?"+query, nil)
			answer = map[string]any{"grant_scope": asked["requested_scope"]}
		}
		told := h.call(t, http.MethodPut, "/oauth2/auth/requests/"+kind+"/accept?"+query, answer)
		page = b.Do(http.MethodGet, told["redirect_to"].(string), nil, nil)
	}
	return page.Location, fmt.Sprintf("%d %.300s", page.Status, page.Body)
}
