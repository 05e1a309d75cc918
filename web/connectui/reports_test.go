package connectui_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/knownwrong"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lookUp returns a world in which answer says which account a grant of the app Web
// belongs to, in the member called name.
func lookUp(t *testing.T, name string, answer http.HandlerFunc) *World {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return New(t, func(a connect.Authorizer) connect.Authorizer {
		return &accountAt{a, provider.AccountSource{From: provider.AccountFromURL, URL: server.URL, Name: name}}
	})
}

type accountAt struct {
	connect.Authorizer
	source provider.AccountSource
}

func (a *accountAt) Account(ctx context.Context, app provider.App, secret, token perennial.Secret, hint, host string) (provider.Account, error) {
	if app.Name == Web {
		app.Provider.Account = a.source
	}
	return a.Authorizer.Account(ctx, app, secret, token, hint, host)
}

// TestReportedOrganisations: Xero lists all organisations that a user has allowed. The
// connection of any of them can be reconnected, also where a setting names the first.
func TestReportedOrganisations(t *testing.T) {
	t.Parallel()
	var list atomic.Value
	list.Store(`[{"tenantId":"org-b"}]`)
	w := lookUp(t, "0.tenantId", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, list.Load().(string)) })
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{App: Web}).Link.Reveal(), Consent{})
	c := only(t, w)
	require.Equal(t, "org-b", c.AccountID)
	list.Store(`[{"tenantId":"org-a"},{"tenantId":"org-b"}]`)
	w.Exec(t, "UPDATE connections SET status = 'reconnect_required', reason = 'invalid_grant'")
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{ConnectionID: c.ID}).Link.Reveal(), Consent{})
	assert.Equal(t, perennial.StatusActive, only(t, w).Status)
}

// TestReportedLookUps: what an API answers shortly after the exchange.
func TestReportedLookUps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first int
		want  perennial.ConnectOutcome
	}{
		"LinkedIn: 401, the token is not known yet": {http.StatusUnauthorized, perennial.ConnectConnected},
		"503": {http.StatusServiceUnavailable, perennial.ConnectUnfinished},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			w := lookUp(t, "sub", func(rw http.ResponseWriter, _ *http.Request) {
				if requests.Add(1) == 1 {
					rw.WriteHeader(c.first)
					return
				}
				_, _ = io.WriteString(rw, `{"sub":"u1"}`)
			})
			s := w.Link(t, connect.SessionRequest{App: Web})
			w.Browser(t).Go(s.Link.Reveal(), Consent{})
			assert.Equal(t, c.want, session(t, w, s.ID).Outcome)
		})
	}
}

type oneApp provider.App

func (a oneApp) App(name string) (provider.App, error) {
	if name != a.Name {
		return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "no app %q", name)
	}
	return provider.App(a), nil
}

// TestReportedDataCentre: Zoho's callback names the server that has the account, and
// only that server accepts the code. Today the link's server is asked.
func TestReportedDataCentre(t *testing.T) {
	t.Parallel()
	var first, named atomic.Int32
	serve := func(requests *atomic.Int32, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			_, _ = io.WriteString(rw, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	linked := serve(&first, `{"error":"invalid_client"}`)
	other := serve(&named, `{"access_token":"a-1","refresh_token":"r-1","expires_in":3600,"api_domain":"https://www.zohoapis.eu"}`)
	e, ok := provider.Lookup("zoho")
	require.True(t, ok)
	e.AuthURL, e.TokenURL, e.RevokeURL = "http://{host}/oauth/v2/auth", "http://{host}/oauth/v2/token", ""
	e.HostSuffixes, e.Account = []string{"localhost"}, provider.AccountSource{From: provider.AccountFromHost}
	w := New(t, nil)
	service := connect.New(connect.Config{Store: w.Store, Sealer: w.Service.Sealer, Workflows: w.Signals, Log: w.Service.Log,
		Apps: oneApp{Name: "zoho", Provider: e, ClientID: "id", ClientSecrets: []perennial.Secret{perennial.NewSecret("client-secret-0001")}}})
	sessions, err := connect.NewSessions(connect.SessionsConfig{Service: service, Store: w.SessionRows, Provider: provider.NewClient(provider.ClientConfig{}), BaseURL: w.URL})
	require.NoError(t, err)
	host := strings.Replace(strings.TrimPrefix(linked, "http://"), "127.0.0.1", "localhost", 1)
	s, err := sessions.CreateSession(t.Context(), connect.SessionRequest{Tenant: Tenant, App: "zoho", Host: host})
	require.NoError(t, err)
	link := s.Link.Reveal()
	a, err := sessions.Start(t.Context(), perennial.NewSecret(link[strings.LastIndex(link, "/")+1:]))
	require.NoError(t, err)
	u, err := url.Parse(a.URL)
	require.NoError(t, err)
	c, err := sessions.Answer(t.Context(), "zoho", url.Values{"state": {u.Query().Get("state")}, "code": {"1000.code"}, "location": {"eu"}, "accounts-server": {other}},
		func(string) perennial.Secret { return a.Browser })
	require.NoError(t, err)
	knownwrong.Check(t, c.Outcome, perennial.ConnectConnected, perennial.ConnectMisconfigured)
	assert.Equal(t, int32(1), first.Load()+named.Load(), "the code is sent once")
}
