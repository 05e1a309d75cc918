package foreign

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/stretchr/testify/require"
)

// serveDoorkeeper starts a Rails application with Doorkeeper. By its own default an old
// refresh token works until the new access token was used.
func serveDoorkeeper(oldUntilUsed bool) func(t *testing.T, redirectURI string) *server {
	return func(t *testing.T, redirectURI string) *server {
		t.Helper()
		dir, err := filepath.Abs(filepath.Join("testdata", "doorkeeper"))
		require.NoError(t, err)
		port := freePort(t)
		p := newProxy(t, port, "/oauth/token")
		env := []string{"RAILS_ENV=production", "DATABASE_URL=sqlite3:" + filepath.Join(t.TempDir(), "doorkeeper.db"), "REDIRECT_URI=" + redirectURI, "CLIENT_SECRET=" + clientSecret}
		if oldUntilUsed {
			env = append(env, "OLD_UNTIL_USED=1")
		}
		base := fmt.Sprintf("http://127.0.0.1:%d", port)
		start(t, dir, base, env, program(t, "/usr/bin/puma"), "--bind", fmt.Sprintf("tcp://127.0.0.1:%d", port), "config.ru")
		return &server{
			proxy:   p,
			consent: signedIn,
			alive:   func(t *testing.T, token perennial.Secret) bool { return accepts(t, base+"/me", token) },
			end: func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, base+"/oauth/authorized_applications/1", nil)
				require.NoError(t, err)
				resp, err := http.DefaultTransport.RoundTrip(req)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Equal(t, http.StatusFound, resp.StatusCode)
			},
		}
	}
}

// signedIn is the consent of a user who is signed in, to a client that may skip the page.
func signedIn(_ *testing.T, b *connecttest.Browser, authorize string) string {
	return b.Do(http.MethodGet, authorize, nil, nil).Location
}

// accepts reports whether an API takes the access token.
func accepts(t *testing.T, target string, token perennial.Secret) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode == http.StatusOK
}
