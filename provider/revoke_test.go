package provider

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestRevoke is RFC 7009: the token and the client's proof are sent once. Anything but
// a 2xx is an error that names neither.
func TestRevoke(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		style        oauth2.AuthStyle
		secretAsUser bool
		user, pass   string // in the Basic header
		form         url.Values
	}{
		"header":         {style: oauth2.AuthStyleInHeader, user: url.QueryEscape("client id"), pass: url.QueryEscape(testSecret.Reveal())},
		"params":         {style: oauth2.AuthStyleInParams, form: url.Values{"client_id": {"client id"}, "client_secret": {testSecret.Reveal()}}},
		"secret as user": {style: oauth2.AuthStyleInHeader, secretAsUser: true, user: url.QueryEscape(testSecret.Reveal())},
	} {
		for _, status := range []int{200, 204, 302, 400, 401, 503} {
			t.Run(name+" "+http.StatusText(status), func(t *testing.T) {
				t.Parallel()
				want := url.Values{"token": {testToken.Reveal()}, "token_type_hint": {"refresh_token"}}
				for k, v := range c.form {
					want[k] = v
				}
				var requests atomic.Int32
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					assert.Equal(t, http.MethodPost, r.Method)
					assert.NoError(t, r.ParseForm())
					assert.Equal(t, want, r.PostForm)
					user, pass, basic := r.BasicAuth()
					assert.Equal(t, c.style == oauth2.AuthStyleInHeader, basic)
					assert.Equal(t, c.user, user)
					assert.Equal(t, c.pass, pass)
					w.Header().Set("Location", "/again?token="+url.QueryEscape(testToken.Reveal()))
					w.WriteHeader(status)
				}))
				defer server.Close()
				a := App{Name: "app", ClientID: "client id", ClientSecrets: []perennial.Secret{testSecret, perennial.NewSecret("the one before")},
					Provider: Entry{Name: "generic", RevokeURL: server.URL, AuthStyle: c.style, SecretAsUser: c.secretAsUser}}
				err := NewClient(ClientConfig{}).Revoke(t.Context(), a, testToken)
				assert.EqualValues(t, 1, requests.Load())
				assert.Equal(t, status >= 300, err != nil)
				leaksNothing(t, err)
			})
		}
	}
}

func TestRevokeWithoutReply(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	client := NewClient(ClientConfig{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		requests.Add(1)
		return nil, http.ErrHandlerTimeout
	})})
	assert.NoError(t, client.Revoke(t.Context(), App{}, testToken), "no endpoint: nothing to do")
	assert.Zero(t, requests.Load())
	for _, endpoint := range []string{"https://127.0.0.1:1/?token=" + url.QueryEscape(testToken.Reveal()), "https://[" + testToken.Reveal()} {
		err := client.Revoke(t.Context(), App{Provider: Entry{Name: "generic", RevokeURL: endpoint}}, testToken)
		require.Error(t, err)
		leaksNothing(t, err)
	}
	assert.EqualValues(t, 1, requests.Load(), "an address that cannot be read is asked nothing")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func leaksNothing(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range []string{testToken.Reveal(), testSecret.Reveal()} {
		assert.NotContains(t, err.Error(), secret)
		assert.NotContains(t, err.Error(), url.QueryEscape(secret))
	}
}
