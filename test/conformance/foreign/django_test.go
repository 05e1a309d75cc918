package foreign

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

// serveDjango starts a Django site with django-oauth-toolkit and a grace period of so many
// seconds; 0 is its default.
func serveDjango(grace int) func(t *testing.T, redirectURI string) *server {
	return func(t *testing.T, redirectURI string) *server {
		t.Helper()
		dir, err := filepath.Abs(filepath.Join("testdata", "django"))
		require.NoError(t, err)
		port := freePort(t)
		p := newProxy(t, port, "/o/token/")
		env := []string{"DATABASE=" + filepath.Join(t.TempDir(), "django.db"), "REDIRECT_URI=" + redirectURI, "CLIENT_SECRET=" + clientSecret, fmt.Sprint("GRACE=", grace)}
		base := fmt.Sprintf("http://127.0.0.1:%d", port)
		start(t, dir, base, env, program(t, "/usr/bin/python3"), "-B", "idp.py", strconv.Itoa(port))
		return &server{
			proxy:   p,
			consent: signedIn,
			alive:   func(t *testing.T, token perennial.Secret) bool { return accepts(t, base+"/me", token) },
			end:     func(t *testing.T) { click(t, base+"/end") },
			remove:  func(t *testing.T) { click(t, base+"/remove") },
		}
	}
}

func click(t *testing.T, target string) {
	t.Helper()
	resp, err := http.Post(target, "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}
