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
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
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

// zohoLike is an app whose callback names the server that has the account.
func zohoLike(t *testing.T, hosts ...string) provider.App {
	t.Helper()
	e, ok := provider.Lookup("zoho")
	require.True(t, ok)
	e.AuthURL, e.TokenURL, e.RevokeURL = "http://{host}/oauth/v2/auth", "http://{host}/oauth/v2/token", ""
	e.HostSuffixes, e.Account = hosts, provider.AccountSource{From: provider.AccountFromReply, Name: "user"}
	return provider.App{Name: "zoho", Provider: e, ClientID: "id", ClientSecrets: []perennial.Secret{perennial.NewSecret("client-secret-0001")}}
}

// dataCentres are two token endpoints of one provider. Only the second has the account.
type dataCentres struct {
	*World
	first, second string // hosts, with ports
	asked         [2]atomic.Int32
	sessions      *connect.Sessions
}

func startDataCentres(t *testing.T, hosts ...string) *dataCentres {
	d := &dataCentres{World: New(t, nil)}
	serve := func(requests *atomic.Int32, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	d.first = strings.Replace(serve(&d.asked[0], `{"error":"invalid_client"}`), "127.0.0.1", "localhost", 1)
	d.second = serve(&d.asked[1], `{"access_token":"a-1","refresh_token":"r-1","expires_in":3600,"user":"u1"}`)
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	service := connect.New(connect.Config{Store: d.Store, Sealer: keys, Workflows: d.Signals, Log: d.Service.Log, Apps: oneApp(zohoLike(t, hosts...))})
	d.sessions, err = connect.NewSessions(connect.SessionsConfig{Service: service, Store: d.SessionRows, Provider: provider.NewClient(provider.ClientConfig{}), BaseURL: d.World.URL})
	require.NoError(t, err)
	return d
}

// answer begins at the first host and returns with a callback that names another.
func (d *dataCentres) answer(t *testing.T, req connect.SessionRequest, named string) perennial.ConnectSession {
	t.Helper()
	req.Tenant = Tenant
	s, err := d.sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), req)
	require.NoError(t, err)
	link := s.Link.Reveal()
	a, err := d.sessions.Start(t.Context(), perennial.NewSecret(link[strings.LastIndex(link, "/")+1:]))
	require.NoError(t, err)
	u, err := url.Parse(a.URL)
	require.NoError(t, err)
	c, err := d.sessions.Answer(t.Context(), "zoho", url.Values{"state": {u.Query().Get("state")}, "code": {"1000.code"}, "location": {"eu"}, "accounts-server": {named}},
		func(string) perennial.Secret { return a.Browser })
	require.NoError(t, err)
	assert.Equal(t, int32(1), d.asked[0].Load()+d.asked[1].Load(), "the code is sent once")
	return c
}

// TestReportedDataCentre: Zoho's callback names the server that has the account, and
// only that server accepts the code. A listed one gets it, and every refresh after it.
func TestReportedDataCentre(t *testing.T) {
	t.Parallel()
	d := startDataCentres(t, "localhost", "127.0.0.1")
	c := d.answer(t, connect.SessionRequest{App: "zoho", Host: d.first}, "http://"+d.second)
	require.Equal(t, perennial.ConnectConnected, c.Outcome)
	con, _, err := d.Store.Get(t.Context(), perennial.WorkerAccess(), c.ResultID)
	require.NoError(t, err)
	assert.Equal(t, d.second, con.Host)
	stored, err := d.sessions.Session(t.Context(), perennial.CommandLineAccess(), c.ID)
	require.NoError(t, err)
	assert.Equal(t, d.second, stored.Host, "whoever finishes the session asks there too")
}

// TestMovedDataCentre: an account that moved to another data centre is reconnected
// there.
func TestMovedDataCentre(t *testing.T) {
	t.Parallel()
	d := startDataCentres(t, "localhost", "127.0.0.1")
	c := d.answer(t, connect.SessionRequest{App: "zoho", Host: d.first}, d.second)
	require.Equal(t, perennial.ConnectConnected, c.Outcome)
	d.Exec(t, "UPDATE connections SET host = '"+d.first+"', status = 'reconnect_required', reason = 'invalid_grant'")
	d.asked[1].Store(0)
	c = d.answer(t, connect.SessionRequest{ConnectionID: c.ResultID}, d.second)
	require.Equal(t, perennial.ConnectConnected, c.Outcome)
	con, _, err := d.Store.Get(t.Context(), perennial.WorkerAccess(), c.ResultID)
	require.NoError(t, err)
	assert.Equal(t, d.second, con.Host)
	assert.Equal(t, perennial.StatusActive, con.Status)
}

// TestForeignDataCentre: the code goes to no host that the description does not list as
// a whole name, whatever the browser's address bar says.
func TestForeignDataCentre(t *testing.T) {
	t.Parallel()
	for name, hosts := range map[string][]string{"not listed": {"localhost"}, "below a domain": {"localhost", ".0.0.1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDataCentres(t, hosts...)
			c := d.answer(t, connect.SessionRequest{App: "zoho", Host: d.first}, "http://"+d.second)
			assert.Equal(t, perennial.ConnectMisconfigured, c.Outcome)
			assert.Zero(t, d.asked[1].Load())
			assert.Contains(t, c.Problem, d.second)
		})
	}
}
