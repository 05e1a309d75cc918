package refresh

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// wired is an engine that speaks HTTP to a token endpoint of a catalogue entry.
func wired(t *testing.T, name string, endpoint http.HandlerFunc) *bundle {
	t.Helper()
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	entry, ok := provider.Lookup(name)
	require.True(t, ok, name)
	entry.TokenURL = server.URL
	if entry.AuthStyle == 0 {
		entry.AuthStyle = oauth2.AuthStyleInParams
	}
	b := setup(t)
	b.app.Provider = entry
	b.Presenter = provider.NewClient(provider.ClientConfig{})
	return b
}

// TestNextSecretInEachProvidersWords: while a client secret is being changed, no
// customer waits because the provider has its own words for a wrong one.
func TestNextSecretInEachProvidersWords(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]struct {
		provider, challenge, body string
		status                    int
	}{
		"hubspot":        {provider: "hubspot", status: 400, body: `{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}`},
		"github":         {provider: "github", status: 200, body: `{"error":"incorrect_client_credentials"}`},
		"slack":          {provider: "slack", status: 200, body: `{"ok":false,"error":"bad_client_secret"}`},
		"xero":           {provider: "xero", status: 400, body: `{"error":"invalid_client"}`},
		"zoho's form":    {provider: "zoho", status: 200, body: `error=invalid_client_secret`},
		"a bare 401":     {provider: "generic", status: 401},
		"a 401 of Basic": {provider: "generic", status: 401, challenge: `Basic realm="x"`, body: `<html>`},
		"another 401":    {provider: "stripe-apps", status: 401, body: `{"error":{"type":"invalid_request_error","message":"Invalid API Key provided"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tried []string
			b := wired(t, refused.provider, func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				secret := r.FormValue("client_secret") + password
				if secret == "" {
					secret = user
				}
				tried = append(tried, secret)
				if secret != "right" {
					w.Header().Set("WWW-Authenticate", refused.challenge)
					w.WriteHeader(refused.status)
					fmt.Fprint(w, refused.body)
					return
				}
				fmt.Fprint(w, `{"ok":true,"access_token":"A","refresh_token":"R","expires_in":3600}`)
			})
			b.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("wrong"), perennial.NewSecret("right"), perennial.NewSecret("unused")}
			res := b.refresh(t, t.Context(), 1)
			assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, res.Code)
			assert.Equal(t, []string{"wrong", "right"}, tried)
			assert.Equal(t, perennial.HealthHealthy, res.Connection.Health)
		})
	}
}
