package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// factKeys are the keys of a description that decide what happens to tokens.
var factKeys = []string{"replay_class", "grace_window", "grace_reply", "after_grace", "default_lifetime", "idle_lifetime", "grant_lifetime",
	"refresh_kills_access_token", "checks_client_first", "rate_limit_scope", "json_body", "secret_as_user", "auth_style"}

func readFixtures(t *testing.T, name string) fixtures.File {
	t.Helper()
	f, err := fixtures.Read("testdata", name)
	require.NoError(t, err, "a provider needs fixtures from its sources")
	return f
}

// TestFixtures: each entry agrees with what its sources say, in facts and in replies.
func TestFixtures(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, f := entry(t, name), readFixtures(t, name)
			facts := map[string]string{}
			for _, key := range factKeys {
				if said := parts(Describe(e))[key]; said != nil {
					facts[key] = said[0]
				}
			}
			assert.Equal(t, f.Facts, facts)
			for _, r := range f.Replies {
				assert.NotEmpty(t, r.Source, r.Name)
				play(t, e, r)
			}
		})
	}
}

// play answers one presentation with the reply.
func play(t *testing.T, e Entry, r fixtures.Reply) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range r.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(r.Status)
		fmt.Fprint(w, r.Body)
	}))
	defer server.Close()
	e.TokenURL = server.URL
	e.Exchange.URL = e.TokenURL
	if e.AuthStyle == 0 {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	app, client := App{Name: "app", ClientID: "id", Provider: e}, NewClient(ClientConfig{})
	var got Reply
	secret, token := presentedTo(t, e)
	if r.Exchange {
		got = client.Exchange(t.Context(), app, testSecret, AuthorizationCode{Code: testToken, Verifier: testToken, RedirectURI: "https://us.example/cb"})
	} else {
		got = client.Refresh(t.Context(), app, secret, token, free)
	}
	assert.Equal(t, r.Outcome, got.Outcome, r.Name)
	account := ""
	if len(got.Accounts) > 0 {
		account = got.Accounts[0].ID
	}
	assert.Equal(t, r.Account, account, r.Name)
	assert.Equal(t, Span(r.Lifetime).Duration(), got.Tokens.ExpiresIn, r.Name)
}
