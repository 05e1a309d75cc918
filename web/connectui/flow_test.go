package connectui_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/store"
)

// all returns the connections of a world.
func all(t *testing.T, w *World) []perennial.Connection {
	t.Helper()
	out, err := w.Store.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
	require.NoError(t, err)
	return out
}

// only returns the only connection.
func only(t *testing.T, w *World) perennial.Connection {
	t.Helper()
	out := all(t, w)
	require.Len(t, out, 1)
	return out[0]
}

func events(t *testing.T, w *World) (out []perennial.EventType) {
	t.Helper()
	newest, err := w.Store.Events(t.Context(), "", 100)
	require.NoError(t, err)
	for i := range newest {
		out = append(out, newest[len(newest)-1-i].Type)
	}
	return out
}

// grant returns an account's grant in the provider's books.
func grant(t *testing.T, s *fakeprovider.Server, app, account string) fakeprovider.GrantOracle {
	t.Helper()
	for _, g := range s.Oracle().Grants {
		if g.Client == "client-"+app && g.Account == account {
			return g
		}
	}
	t.Fatalf("the provider knows no grant of %s to %s", account, app)
	return fakeprovider.GrantOracle{}
}

func session(t *testing.T, w *World, id string) perennial.ConnectSession {
	t.Helper()
	c, _, err := w.SessionRows.ByID(t.Context(), id)
	require.NoError(t, err)
	return c
}

// TestConnect takes every step: one call, one link, one consent. Tokens are stored, the
// workflow is signalled, the product gets the result.
func TestConnect(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings?tab=crm", TenantTitle: "Jane's Bikes"})
	b := w.Browser(t)
	begin := b.Open(s.Link.Reveal())
	assert.Equal(t, http.StatusOK, begin.Status)
	assert.Equal(t, "Connect Acme CRM", begin.Heading())
	assert.Contains(t, begin.Text(), "SimpleSync asks for access to your Acme CRM account for Jane's Bikes.")
	assert.Contains(t, begin.Text(), w.Product.URL+"/help")

	authorize, err := url.Parse(b.Begin(begin))
	require.NoError(t, err)
	q := authorize.Query()
	assert.Equal(t, "code", q.Get("response_type"))
	assert.Equal(t, "S256", q.Get("code_challenge_method"))
	assert.Len(t, q.Get("code_challenge"), 43)
	assert.Len(t, q.Get("state"), 43, "256 bits")
	assert.Equal(t, w.URL+"/connect/callback/crm", q.Get("redirect_uri"))
	assert.Equal(t, "contacts.read contacts.write", q.Get("scope"))

	end := b.Open(b.Answer(authorize.String(), Consent{}))
	c := only(t, w)
	assert.Equal(t, w.Product.URL+"/settings?connect_outcome=connected&connect_session="+s.ID+"&connection_id="+c.ID+"&tab=crm", end.URL)
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.Equal(t, []string{Tenant, CRM, "62515"}, []string{c.TenantID, c.App, c.AccountID})
	assert.Equal(t, []string{"contacts.read", "contacts.write"}, c.Scopes)
	assert.Equal(t, grant(t, w.Provider, CRM, "62515").LiveRefreshTokens, []string{c.RefreshTokenDigest}, "by the provider's books")
	assert.Equal(t, []string{c.ID + " reconnected"}, w.Signals.All())
	assert.Equal(t, []perennial.EventType{perennial.EventConnected}, events(t, w))
	assert.Equal(t, 1, w.Provider.Oracle().TokenRequests)

	ended := session(t, w, s.ID)
	assert.Equal(t, c.ID, ended.ResultID)
	assert.Empty(t, ended.ReplySealed, "nothing of the grant stays in the session")
	assert.Empty(t, ended.VerifierSealed)

	again := b.Open(s.Link.Reveal())
	assert.Equal(t, "Acme CRM is connected", again.Heading(), "in the browser that did it")
	other := w.Browser(t).Open(s.Link.Reveal())
	assert.Equal(t, http.StatusGone, other.Status, "elsewhere the link is used up")
	assert.Equal(t, "This link was used already", other.Heading())
	assert.NotContains(t, other.Text(), c.ID)
}

// TestAccounts: each place where a provider may name the account.
func TestAccounts(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	for _, app := range []string{CRM, Books, Login, Web, Hub} {
		s := w.Link(t, connect.SessionRequest{App: app})
		end := w.Browser(t).Go(s.Link.Reveal(), Consent{Account: "account of " + app})
		assert.Equal(t, http.StatusOK, end.Status, app)
		assert.Regexp(t, "is connected$", end.Heading(), app)
		c, err := w.Store.FindByAccount(t.Context(), accesstest.Of(t, Tenant), app, "account of "+app)
		if assert.NoError(t, err, app) && app == Books {
			assert.Equal(t, "account of books", c.Metadata["account"], "the API is called with it")
		}
	}
}

// TestHubSpot uses the catalogue's entry: the portal id and the scopes come from the
// token reply, without another request.
func TestHubSpot(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	p := b.Go(w.Link(t, connect.SessionRequest{App: Hub}).Link.Reveal(), Consent{Without: []string{"crm.objects.contacts.read"}})
	assert.Equal(t, "Permissions are missing", p.Heading())
	assert.Contains(t, p.Text(), "<code>crm.objects.contacts.read</code>")
	assert.True(t, grant(t, w.Provider, Hub, "62515").Revoked)
	assert.Equal(t, "HubSpot is connected", b.Open(b.Answer(b.Begin(p), Consent{})).Heading())
	c := only(t, w)
	assert.Equal(t, "62515", c.AccountID)
	assert.Equal(t, "62515", c.Metadata["hub_id"])
	assert.ElementsMatch(t, []string{"crm.objects.contacts.read", "oauth"}, c.Scopes)

	p = w.Browser(t).Go(w.Link(t, connect.SessionRequest{ConnectionID: c.ID}).Link.Reveal(), Consent{Account: "999"})
	assert.Equal(t, "That is another account", p.Heading())
	assert.True(t, grant(t, w.Provider, Hub, "999").Revoked)
	assert.Equal(t, c, only(t, w))
}

// TestDeny: nothing changes, and the same link may be used again.
func TestDeny(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"})
	b := w.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{Deny: true})
	assert.Equal(t, "Acme CRM was not connected", p.Heading())
	assert.Contains(t, p.Text(), "connect_outcome=access_denied")
	assert.Empty(t, all(t, w))
	assert.Zero(t, w.Provider.Oracle().TokenRequests)
	assert.Equal(t, "Connect Acme CRM", w.Browser(t).Open(s.Link.Reveal()).Heading(), "another browser begins anew")

	end := b.Open(b.Answer(b.Begin(p), Consent{}))
	assert.Contains(t, end.URL, "connect_outcome=connected")
	only(t, w)
}

func TestExpired(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	expire := func(id string) {
		w.Exec(t, "UPDATE connect_sessions SET expires_at = clock_timestamp() WHERE id = $1", id)
	}
	s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"})
	b := w.Browser(t)
	open := b.Open(s.Link.Reveal())
	expire(s.ID)
	for name, p := range map[string]Page{"opened": b.Open(s.Link.Reveal()), "pressed": b.Press(open)} {
		assert.Equal(t, http.StatusGone, p.Status, name)
		assert.Equal(t, "This link has expired", p.Heading(), name)
		assert.Contains(t, p.Text(), w.Product.URL+"/settings", "%s: the way back", name)
	}

	s = w.Link(t, connect.SessionRequest{})
	callback := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})
	expire(s.ID)
	assert.Equal(t, "This link has expired", b.Open(callback).Heading(), "at the provider for too long")
	assert.Zero(t, w.Provider.Oracle().TokenRequests, "the code is not shown")
	assert.Empty(t, all(t, w))
	assert.Equal(t, http.StatusNotFound, b.Open(w.URL+"/connect/cl_nothing").Status)
}

// TestReplayedCallback: the code is exchanged once, however often its URL is opened.
func TestReplayedCallback(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := w.Link(t, connect.SessionRequest{})
	b := w.Browser(t)
	callback := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})
	for range 3 {
		p := b.Open(callback)
		assert.Equal(t, "Acme CRM is connected", p.Heading())
		assert.Equal(t, s.Link.Reveal(), p.URL, "the code is in no address")
	}
	assert.Equal(t, int64(1), only(t, w).Generation)
	assert.Equal(t, 1, w.Provider.Oracle().TokenRequests)
	assert.Equal(t, []perennial.EventType{perennial.EventConnected}, events(t, w))

	other := w.Browser(t).Open(callback)
	assert.Equal(t, http.StatusBadRequest, other.Status)
	assert.Equal(t, "This sign-in began in another browser", other.Heading())
	assert.Equal(t, 1, w.Provider.Oracle().TokenRequests)
}

// TestCallbackAtOnce opens the same callback ten times at once.
func TestCallbackAtOnce(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	callback := b.Answer(b.Begin(b.Open(w.Link(t, connect.SessionRequest{}).Link.Reveal())), Consent{})
	var wait sync.WaitGroup
	for range 10 {
		same := w.Browser(t)
		same.Use(b.Jar)
		wait.Go(func() { same.Do(http.MethodGet, callback, nil, nil) })
	}
	wait.Wait()
	assert.Equal(t, int64(1), only(t, w).Generation)
	assert.Equal(t, 1, w.Provider.Oracle().TokenRequests)
}

// TestState: a response without its state, or in another browser, is refused.
func TestState(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	s := w.Link(t, connect.SessionRequest{})
	callback := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})
	change := func(do func(url.Values)) string {
		u, err := url.Parse(callback)
		require.NoError(t, err)
		q := u.Query()
		do(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for name, target := range map[string]string{
		"missing": change(func(q url.Values) { q.Del("state") }),
		"empty":   change(func(q url.Values) { q.Set("state", "") }),
		"unknown": change(func(q url.Values) { q.Set("state", strings.Repeat("A", 43)) }),
		"twice":   change(func(q url.Values) { q.Add("state", "another") }),
		"digest":  change(func(q url.Values) { q.Set("state", session(t, w, s.ID).StateDigest) }),
	} {
		p := b.Open(target)
		assert.Equal(t, http.StatusBadRequest, p.Status, name)
		assert.Equal(t, "This sign-in cannot be continued", p.Heading(), name)
	}
	p := w.Browser(t).Open(callback)
	assert.Equal(t, "This sign-in began in another browser", p.Heading())
	assert.Zero(t, w.Provider.Oracle().TokenRequests)
	assert.Empty(t, all(t, w))
	assert.Equal(t, "Acme CRM is connected", b.Open(callback).Heading(), "none of it disturbed the right browser")
}

// TestStartedAgain: only the newest authorization request counts. The response to an
// older one is refused.
func TestStartedAgain(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	s := w.Link(t, connect.SessionRequest{})
	first := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})
	second := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})
	assert.Equal(t, "This sign-in cannot be continued", b.Open(first).Heading())
	assert.Zero(t, w.Provider.Oracle().TokenRequests)
	assert.Equal(t, "Acme CRM is connected", b.Open(second).Heading())
}

func TestMissingScopes(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	p := b.Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{Without: []string{"contacts.write"}})
	assert.Equal(t, "Permissions are missing", p.Heading())
	assert.Contains(t, p.Text(), "<code>contacts.write</code>")
	assert.NotContains(t, p.Text(), "contacts.read")
	assert.Empty(t, all(t, w))
	assert.True(t, grant(t, w.Provider, CRM, "62515").Revoked)
	assert.Equal(t, "Acme CRM is connected", b.Open(b.Answer(b.Begin(p), Consent{})).Heading())
	only(t, w)
}

// TestScopesOfIntrospection: if a token reply has no scope but the provider names the
// scopes elsewhere, those count, not the requested ones.
func TestScopesOfIntrospection(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{OmitScope: true}))
	p := w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{Without: []string{"contacts.read"}})
	assert.Equal(t, "Permissions are missing", p.Heading())
	assert.Contains(t, p.Text(), "<code>contacts.read</code>")
}

func TestNoRefreshToken(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{OmitRefresh: true}))
	p := w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
	assert.Equal(t, "Acme CRM could not be connected", p.Heading())
	assert.Contains(t, p.Text(), "for a short time only")
	assert.True(t, grant(t, w.Provider, CRM, "62515").Revoked)
	assert.Empty(t, all(t, w))
}

// TestMerge: a second connect of an account updates its connection, even if two tabs do
// it at once.
func TestMerge(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	b.Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
	c := only(t, w)
	one, two := w.Link(t, connect.SessionRequest{}), w.Link(t, connect.SessionRequest{})
	first := b.Answer(b.Begin(b.Open(one.Link.Reveal())), Consent{})
	second := b.Answer(b.Begin(b.Open(two.Link.Reveal())), Consent{})
	assert.Equal(t, "Acme CRM is connected", b.Open(second).Heading(), "two tabs do not disturb each other")
	assert.Equal(t, "Acme CRM is connected", b.Open(first).Heading())
	after := only(t, w)
	assert.Equal(t, c.ID, after.ID)
	assert.Equal(t, int64(3), after.Generation)
	assert.Equal(t, []perennial.EventType{perennial.EventConnected}, events(t, w))
	assert.Equal(t, after.ID, session(t, w, one.ID).ResultID)
}
