package conformance

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// listener records the requests on the wire.
type listener struct {
	mu    sync.Mutex
	basic []string // passwords of the Basic header; "" without one
	forms []url.Values
}

func (l *listener) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	_, password, _ := req.BasicAuth()
	l.mu.Lock()
	l.basic, l.forms = append(l.basic, password), append(l.forms, form)
	l.mu.Unlock()
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultTransport.RoundTrip(req)
}

// TestAuthStyles: the client secret is sent where the catalogue's entry says, and
// nowhere else. The server accepts both styles.
func TestAuthStyles(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]oauth2.AuthStyle{"header": oauth2.AuthStyleInHeader, "params": oauth2.AuthStyleInParams} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newServer(t), &listener{}
			first := s.consent(t)
			f := newFleet(t, s, first, 1, perennial.ReplaySingleUse, l)
			f.app.Provider.AuthStyle = style
			f.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("wrong"), perennial.NewSecret(clientSecret)}
			require.Equal(t, perennial.OutcomeRefreshed, f.ask(t).Outcome)
			require.Len(t, l.forms, 2, "the second secret after the first")
			for i, secret := range []string{"wrong", clientSecret} {
				assert.Equal(t, first.RefreshToken.Reveal(), l.forms[i].Get("refresh_token"))
				if style == oauth2.AuthStyleInHeader {
					assert.Equal(t, secret, l.basic[i])
					assert.False(t, l.forms[i].Has("client_secret"))
				} else {
					assert.Empty(t, l.basic[i])
					assert.Equal(t, secret, l.forms[i].Get("client_secret"))
				}
			}
			assert.NotEqual(t, first.RefreshToken.Reveal(), f.token(t, seal.FieldRefreshToken).Reveal())
			assert.True(t, s.alive(f.token(t, seal.FieldAccessToken)))
		})
	}
}

// TestRejectedClientSpendsNothing: a refresh token that was presented with a wrong
// client secret stays good; the server itself says so.
func TestRejectedClientSpendsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.consent(t)
	f := newFleet(t, s, first, 1, perennial.ReplayReuseRevokes, nil)
	f.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("wrong")}
	res := f.ask(t)
	assert.Equal(t, perennial.OutcomeMisconfigured, res.Outcome)
	assert.Equal(t, "invalid_client", res.Code)
	assert.Equal(t, http.StatusUnauthorized, res.HTTPStatus)
	assert.False(t, res.Connection.Ambiguous())
	assert.Equal(t, perennial.StatusActive, res.Connection.Status)
	assert.EqualValues(t, 1, res.Connection.Generation)
	assert.True(t, s.alive(first.AccessToken))
	assert.NotContains(t, s.post(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.RefreshToken.Reveal()}}), "error")
}
