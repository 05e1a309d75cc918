package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// played is one provider of the catalogue at an address of this machine. Its server is
// made once the configuration has been read.
type played struct {
	*httptest.Server
	name   string
	server atomic.Pointer[fakeprovider.Server]
}

func newPlayed(t *testing.T, name string) *played {
	p := &played{name: name}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.server.Load().ServeHTTP(w, r) }))
	t.Cleanup(p.Close)
	return p
}

// playedLife is how many seconds the access tokens of these tests live.
const playedLife = 8

// starts begins to play an entry as its sources say, with short lives.
func (p *played) starts(t *testing.T, e provider.Entry) {
	t.Helper()
	f, err := fixtures.Read("../../provider/testdata", p.name)
	require.NoError(t, err)
	play, err := fakeprovider.NewPlay(e, f)
	require.NoError(t, err)
	knobs := play.Knobs()
	knobs.LifetimeSeconds = playedLife
	s, err := fakeprovider.New(fakeprovider.Config{Play: play, Clients: map[string]fakeprovider.Client{
		"client": {Secrets: []string{clientSecret}, RedirectURIs: []string{linkBase + "/connect/callback/" + p.name}, Knobs: knobs}}})
	require.NoError(t, err)
	p.server.Store(s)
}

// settings returns the app's line: the catalogue's entry, at other addresses.
func (p *played) settings(secret, more string) string {
	return fmt.Sprintf(`  - {name: %s, provider: %[1]s, client_id: client, client_secret_file: %q, scopes: [read]%s}`+"\n", p.name, secret, strings.ReplaceAll(more, "HERE", p.URL))
}

// TestProviders takes one account of each of five providers that differ most through its
// life, with a real Temporal, the real database, the server program and a browser:
// a connect link, refreshes, a reply that is lost, and a grant that is revoked.
// Package test/catalogue does so for all providers, on a virtual clock.
func TestProviders(t *testing.T) {
	t.Parallel()
	const fixed = `, auth_url: "HERE/authorize", token_url: "HERE/token", default_lifetime: 8s`
	lines := map[string]string{
		"slack":      fixed,
		"atlassian":  fixed + `, account: {from: url, name: "*.id", title: name, url: "HERE/account"}`,
		"quickbooks": fixed + `, account: {from: callback, name: realmId, url: "HERE/accounts/{account}"}`,
		"shopify":    `, auth_url: "http://{host}/authorize", token_url: "http://{host}/token", hosts: [127.0.0.1], default_lifetime: 8s`,
		"xero":       fixed + `, account: {from: url, name: "*.tenantId", title: tenantName, url: "HERE/account"}`,
	}
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(clientSecret+"\n"), 0o600))
	all, apps := map[string]*played{}, ""
	for name, more := range lines {
		all[name] = newPlayed(t, name)
		apps += all[name].settings(secret, more)
	}
	s := setup(t, setting{links: true, apps: apps})
	for name, p := range all {
		app, err := s.deps.Config.App(name)
		require.NoError(t, err)
		p.starts(t, app.Provider)
	}
	s.work()
	server := s.serve()
	t.Run("life", func(t *testing.T) {
		for name, p := range all {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				one := *s
				one.T = t
				one.lives(p, server, one.remote(server))
			})
		}
	})
	assert.NotContains(t, string(s.logs.Bytes()), clientSecret)
}

// lives takes one account through its life.
func (s *stack) lives(p *played, server *serverProcess, product *tokens.Client) {
	host, account := "", "70001"
	if p.name == "shopify" {
		host = strings.TrimPrefix(p.URL, "http://")
		account = host
	}
	transport := server.transport()
	s.Cleanup(transport.CloseIdleConnections)
	consent := func(made tokens.ConnectSession, err error) perennial.Connection {
		s.Helper()
		require.NoError(s, err)
		page := connecttest.NewBrowser(s, linkBase, transport).Go(made.Link.Reveal(), connecttest.Consent{Account: account})
		session, err := product.Session(s.Context(), made.ID)
		require.NoError(s, err)
		require.Equal(s, perennial.ConnectConnected, session.Outcome, page.Text())
		return s.get(session.Connection)
	}
	books := p.server.Load()
	good := func(c perennial.Connection) bool {
		token, err := product.Token(s.Context(), c.ID)
		return err == nil && books.Accepts(token.Access.Reveal())
	}

	c := consent(product.Connect(s.Context(), tokens.ConnectRequest{App: p.name, Host: host}))
	require.Equal(s, account, c.AccountID)
	s.until(c.ID, "two refreshes", generation(3))
	require.True(s, good(c))
	require.Zero(s, books.Oracle().ConsumedPresentations, "no used refresh token was presented")

	require.NoError(s, books.Adjust("client", account, func(k *fakeprovider.Knobs) { k.DropAfter = 1 }))
	app, err := s.deps.Config.App(p.name)
	require.NoError(s, err)
	if app.Provider.ReplayClass == perennial.ReplayGrace {
		before := s.get(c.ID).Generation
		s.eventually("the reply is lost", func() bool { return lost(books) })
		s.until(c.ID, "the lost reply is recovered", generation(before+2))
	} else {
		c = s.until(c.ID, "the lost reply costs the grant", status(perennial.StatusReconnectRequired))
		require.Equal(s, perennial.ReasonRotationLost, c.Reason)
		consent(product.Reconnect(s.Context(), c.ID, tokens.ReconnectRequest{}))
	}
	require.True(s, good(c))

	require.NoError(s, books.Revoke("client", account))
	c = s.until(c.ID, "the revocation is noticed", status(perennial.StatusReconnectRequired))
	require.Equal(s, perennial.ReasonInvalidGrant, c.Reason)
	generationBefore := c.Generation
	consent(product.Reconnect(s.Context(), c.ID, tokens.ReconnectRequest{}))
	s.until(c.ID, "it is refreshed again", generation(generationBefore+2))
	require.True(s, good(c))
}

// lost reports whether a reply has been lost.
func lost(books *fakeprovider.Server) bool {
	for _, p := range books.Oracle().Presentations {
		if p.Undelivered {
			return true
		}
	}
	return false
}
