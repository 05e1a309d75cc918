package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// fixtures are what is known of a provider from its sources: testdata/NAME/fixtures.yaml.
// Write them from the sources, never from the entry: they find its mistakes.
type fixtures struct {
	// Facts has every key of factKeys that the entry must have, as a description writes it.
	Facts   map[string]string `yaml:"facts"`
	Replies []fixtureReply    `yaml:"replies"`
}

// fixtureReply is one answer of a token endpoint and what it means.
type fixtureReply struct {
	Name     string            `yaml:"name"`
	Source   string            `yaml:"source"`   // an address, or who saw it
	Exchange bool              `yaml:"exchange"` // it answers an authorization code instead of a refresh token
	Status   int               `yaml:"status"`
	Headers  map[string]string `yaml:"headers"`
	Body     string            `yaml:"body"`
	Outcome  perennial.Outcome `yaml:"outcome"`
	Account  string            `yaml:"account"`  // of an exchange
	Lifetime Span              `yaml:"lifetime"` // that the reply names
}

// factKeys are the keys of a description that decide what happens to tokens.
var factKeys = []string{"replay_class", "grace_window", "default_lifetime", "idle_lifetime", "grant_lifetime",
	"refresh_kills_access_token", "checks_client_first", "rate_limit_scope", "json_body", "secret_as_user", "auth_style"}

func readFixtures(t *testing.T, name string) fixtures {
	t.Helper()
	path := filepath.Join("testdata", name, "fixtures.yaml")
	raw, err := os.ReadFile(path)
	require.NoError(t, err, "a provider needs fixtures from its sources")
	var f fixtures
	require.NoError(t, strictyaml.Join(path, strictyaml.Decode(raw, &f).Problems))
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
				r.play(t, e)
			}
		})
	}
}

// play answers one presentation with the reply.
func (r fixtureReply) play(t *testing.T, e Entry) {
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
	if e.AuthStyle == 0 {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	app, client := App{Name: "app", ClientID: "id", Provider: e}, NewClient(ClientConfig{})
	var got Reply
	if r.Exchange {
		got = client.Exchange(t.Context(), app, testSecret, AuthorizationCode{Code: testToken, Verifier: testToken, RedirectURI: "https://us.example/cb"})
	} else {
		got = client.Refresh(t.Context(), app, testSecret, testToken, free)
	}
	assert.Equal(t, r.Outcome, got.Outcome, r.Name)
	account := ""
	if len(got.Accounts) > 0 {
		account = got.Accounts[0].ID
	}
	assert.Equal(t, r.Account, account, r.Name)
	var lifetime time.Duration
	if r.Lifetime != "" {
		lifetime, _ = r.Lifetime.duration()
	}
	assert.Equal(t, lifetime, got.Tokens.ExpiresIn, r.Name)
}
