package connectui_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/provider"
)

// verifier is what the product keeps in the session of the user who asked for a link.
var verifier = perennial.NewSecret(strings.Repeat("verifier-", 5))

// bound makes a link for that user.
func bound(t *testing.T, w *World, req connect.SessionRequest) connect.Session {
	t.Helper()
	req.Challenge, req.ReturnURL = connect.Challenge(verifier), w.Product.URL+"/settings"
	return w.Link(t, req)
}

// brought returns the code that a browser brought to the product.
func brought(t *testing.T, p Page) perennial.Secret {
	t.Helper()
	u, err := url.Parse(p.URL)
	require.NoError(t, err)
	require.Equal(t, "awaiting_finish", u.Query().Get("connect_outcome"), p.URL)
	return perennial.NewSecret(u.Query().Get("connect_code"))
}

func finish(t *testing.T, w *World, s connect.Session, code, verifier perennial.Secret) (perennial.ConnectSession, error) {
	t.Helper()
	return w.Sessions.FinishBound(t.Context(), accesstest.Of(t, Tenant), connect.FinishRequest{ID: s.ID, Code: code, Verifier: verifier})
}

func otherUser(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, perennial.CodeOtherUser, perennial.CodeOf(err), "%v", err)
}

// nothingStored asserts that no consent has changed anything.
func nothingStored(t *testing.T, w *World) {
	t.Helper()
	assert.Empty(t, all(t, w))
	assert.Empty(t, events(t, w))
	assert.Empty(t, w.Signals.All())
}

// TestBoundConnect: the consent stores nothing; the finish stores everything, once.
func TestBoundConnect(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := bound(t, w, connect.SessionRequest{})
	b := w.Browser(t)
	authorize := b.Begin(b.Open(s.Link.Reveal()))
	callback := b.Answer(authorize, Consent{})
	end := b.Open(callback)
	code := brought(t, end)
	assert.Len(t, code.Reveal(), 46)
	assert.NotContains(t, end.URL, "connection_id")
	nothingStored(t, w)
	n, err := w.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	assert.Zero(t, n)
	nothingStored(t, w)

	assert.Equal(t, code, brought(t, b.Open(callback)), "the same browser gets the same code again")
	page := b.Open(s.Link.Reveal())
	assert.Equal(t, "Almost done", page.Heading())
	assert.Contains(t, page.Text(), code.Reveal(), "after a redirect that did not arrive")
	elsewhere := w.Browser(t).Open(s.Link.Reveal())
	assert.Equal(t, "This sign-in began in another browser", elsewhere.Heading())
	assert.NotContains(t, elsewhere.Body, code.Reveal())

	_, err = w.Sessions.FinishBound(t.Context(), accesstest.Of(t, "t2"), connect.FinishRequest{ID: s.ID, Code: code, Verifier: verifier})
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "another tenant's")
	got, err := finish(t, w, s, code, verifier)
	require.NoError(t, err)
	c := only(t, w)
	assert.Equal(t, []any{perennial.ConnectConnected, c.ID}, []any{got.Outcome, got.ResultID})
	assert.Equal(t, grant(t, w.Provider, CRM, "62515").LiveRefreshTokens, []string{c.RefreshTokenDigest})
	again, err := finish(t, w, s, code, verifier)
	require.NoError(t, err)
	assert.Equal(t, []any{got.Outcome, got.ResultID}, []any{again.Outcome, again.ResultID})
	_, err = finish(t, w, s, code, perennial.NewSecret("another"))
	otherUser(t, err)
	assert.Equal(t, []perennial.EventType{perennial.EventConnected}, events(t, w))
	assert.Equal(t, []string{c.ID + " reconnected"}, w.Signals.All())
	assert.Empty(t, session(t, w, s.ID).ReplySealed)
	var rows string
	require.NoError(t, w.Foreign.QueryRowContext(t.Context(), "SELECT string_agg(row::text, '') FROM connect_sessions row").Scan(&rows))
	for _, secret := range []perennial.Secret{code, verifier} {
		assert.NotContains(t, rows+w.Logs.String(), secret.Reveal())
	}
}

// TestAnotherUsersConsent: a user who follows another one's link connects nothing, neither
// to his own tenant nor to the other's, and the grant does not live on.
func TestAnotherUsersConsent(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := bound(t, w, connect.SessionRequest{}) // the first user's, who sends it to the second
	code := brought(t, w.Browser(t).Go(s.Link.Reveal(), Consent{}))
	for range 10 {
		_, err := finish(t, w, s, perennial.NewSecret("fc_made up"), verifier)
		otherUser(t, err)
	}
	assert.Equal(t, perennial.ConnectAwaitingFinish, session(t, w, s.ID).Outcome, "nobody ends it who has no code")
	for try := range 5 {
		require.Equal(t, perennial.ConnectAwaitingFinish, session(t, w, s.ID).Outcome, try)
		_, err := finish(t, w, s, code, perennial.NewSecret("of the second user's session"))
		otherUser(t, err)
		nothingStored(t, w)
	}
	assert.True(t, grant(t, w.Provider, CRM, "62515").Revoked, "after as many tries")
	got, err := finish(t, w, s, code, verifier)
	require.NoError(t, err)
	assert.Equal(t, []any{perennial.ConnectNotFinished, perennial.RevocationDone}, []any{got.Outcome, got.Revocation})
	assert.Empty(t, got.ReplySealed)
	nothingStored(t, w)
}

// TestNotFinishedInTime: the grant is revoked, erased, and listed if it may live on.
func TestNotFinishedInTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails bool
		want  perennial.Revocation
	}{"revoked": {false, perennial.RevocationDone}, "not revoked": {true, perennial.RevocationFailed}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := New(t, func(a connect.Authorizer) connect.Authorizer { return &deaf{Authorizer: a, fails: c.fails} })
			s := bound(t, w, connect.SessionRequest{})
			code := brought(t, w.Browser(t).Go(s.Link.Reveal(), Consent{}))
			var left float64
			require.NoError(t, w.Foreign.QueryRowContext(t.Context(), "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM connect_sessions").Scan(&left))
			assert.InDelta(t, 600, left, 60)
			w.Exec(t, "UPDATE connect_sessions SET lease_until = clock_timestamp(), expires_at = clock_timestamp() - interval '2 days'")
			_, err := w.Sessions.FinishAll(t.Context(), 10)
			require.NoError(t, err)
			got, err := finish(t, w, s, code, verifier)
			if c.fails {
				require.NoError(t, err)
				assert.Equal(t, []any{perennial.ConnectNotFinished, c.want, 0, "62515"}, []any{got.Outcome, got.Revocation, len(got.ReplySealed), got.AccountID})
			} else {
				assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "it was deleted, long after its end")
			}
			nothingStored(t, w)
			assert.Equal(t, !c.fails, grant(t, w.Provider, CRM, "62515").Revoked)
			listed, err := w.SessionRows.Unrevoked(t.Context(), 10)
			require.NoError(t, err)
			assert.Equal(t, c.fails, len(listed) == 1)
			w.Exec(t, "UPDATE connect_sessions SET expires_at = clock_timestamp() - interval '31 days'")
			_, err = w.Sessions.FinishAll(t.Context(), 10)
			require.NoError(t, err)
			listed, err = w.SessionRows.Unrevoked(t.Context(), 10)
			require.NoError(t, err)
			assert.Empty(t, listed)
		})
	}
}

// deaf is a provider that may refuse to revoke.
type deaf struct {
	connect.Authorizer
	fails bool
	asked atomic.Int32
}

// Revoke implements connect.Authorizer.
func (d *deaf) Revoke(ctx context.Context, app provider.App, token perennial.Secret) error {
	d.asked.Add(1)
	if d.fails {
		return errors.New("no answer")
	}
	return d.Authorizer.Revoke(ctx, app, token)
}

// TestFinishTooLate: a finish that comes before anybody has given the grant up, but after
// the ten minutes, stores nothing.
func TestFinishTooLate(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := bound(t, w, connect.SessionRequest{})
	b := w.Browser(t)
	code := brought(t, b.Go(s.Link.Reveal(), Consent{}))
	w.Exec(t, "UPDATE connect_sessions SET lease_until = clock_timestamp()")
	got, err := finish(t, w, s, code, verifier)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectNotFinished, got.Outcome)
	nothingStored(t, w)
	assert.True(t, grant(t, w.Provider, CRM, "62515").Revoked)

	second := brought(t, b.Go(s.Link.Reveal(), Consent{})) // the link still works
	assert.NotEqual(t, code, second)
	_, err = finish(t, w, s, code, verifier)
	otherUser(t, err)
	got, err = finish(t, w, s, second, verifier)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectConnected, got.Outcome)
}

// TestFinishAtOnce: all get the same answer, and the grant is stored once.
func TestFinishAtOnce(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := bound(t, w, connect.SessionRequest{})
	code := brought(t, w.Browser(t).Go(s.Link.Reveal(), Consent{}))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			got, err := finish(t, w, s, code, verifier)
			assert.NoError(t, err)
			assert.Equal(t, perennial.ConnectConnected, got.Outcome)
			assert.NotEmpty(t, got.ResultID)
		})
	}
	wait.Wait()
	assert.Equal(t, int64(1), only(t, w).Generation)
	assert.Equal(t, []perennial.EventType{perennial.EventConnected}, events(t, w))
}

// TestBoundReconnect: the old grant is the connection's until the finish, and is refreshed
// meanwhile. A process that dies after it was asked does not take that for its own grant.
func TestBoundReconnect(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
	before := only(t, w)
	s := bound(t, w, connect.SessionRequest{ConnectionID: before.ID})
	code := brought(t, w.Browser(t).Go(s.Link.Reveal(), Consent{}))
	assert.Equal(t, before, only(t, w), "nothing is replaced before the finish")

	w.Exec(t, "UPDATE connections SET last_refreshed_at = clock_timestamp()") // of the old grant
	row := session(t, w, s.ID)
	_, err := w.SessionRows.AskFinish(t.Context(), s.ID, row.Starts, time.Millisecond) // and then it died
	require.NoError(t, err)
	got, err := finish(t, w, s, code, verifier)
	require.NoError(t, err)
	after := only(t, w)
	assert.Equal(t, []any{perennial.ConnectConnected, before.ID}, []any{got.Outcome, got.ResultID})
	assert.Equal(t, before.Generation+1, after.Generation)
	assert.NotEqual(t, before.RefreshTokenDigest, after.RefreshTokenDigest)
}

// TestBoundAnotherAccount: a reconnect with another account is refused at the consent.
func TestBoundAnotherAccount(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
	before := only(t, w)
	p := w.Browser(t).Go(bound(t, w, connect.SessionRequest{ConnectionID: before.ID}).Link.Reveal(), Consent{Account: "999"})
	assert.Equal(t, "That is another account", p.Heading())
	assert.NotContains(t, p.Body, "connect_code")
	assert.Equal(t, before, only(t, w))
}

// TestBoundChoice: first the customer chooses, then the product finishes.
func TestBoundChoice(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-a", "org-b")
	s := bound(t, o.World, connect.SessionRequest{App: Web})
	b := o.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, []string{"org-a", "org-b"}, offered(p))
	assert.NotContains(t, p.Body, "connect_code")
	chosen := pick(b, s, p, "org-b")
	back := chosen.Refresh()
	require.Contains(t, back, "connect_outcome=awaiting_finish", chosen.Text())
	nothingStored(t, o.World)
	u, err := url.Parse(back)
	require.NoError(t, err)
	got, err := finish(t, o.World, s, perennial.NewSecret(u.Query().Get("connect_code")), verifier)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectConnected, got.Outcome)
	assert.Equal(t, "org-b", only(t, o.World).AccountID)
}

// TestBoundPopup: the window that opened the popup gets the code.
func TestBoundPopup(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := bound(t, w, connect.SessionRequest{Mode: perennial.ConnectPopup})
	p := w.Browser(t).Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, "Almost done", p.Heading())
	assert.Contains(t, p.Text(), `"outcome":"awaiting_finish"`)
	assert.Contains(t, p.Text(), `"code":"fc_`)
	assert.Contains(t, p.Body, "data-close")
	nothingStored(t, w)
}

// TestBoundLookUpFails: a grant whose account is looked up later waits for the product
// too, and the same browser gets its code then.
func TestBoundLookUpFails(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{InfoError: 1}))
	s := bound(t, w, connect.SessionRequest{})
	b := w.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, perennial.ConnectUnfinished, session(t, w, s.ID).Outcome)
	assert.NotContains(t, p.Body, "connect_code")
	w.Exec(t, "UPDATE connect_sessions SET lease_until = NULL")
	_, err := w.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	nothingStored(t, w)
	back := b.Open(s.Link.Reveal())
	require.Contains(t, back.Text(), "connect_code=")
	_, code, _ := strings.Cut(back.Text(), "connect_code=")
	got, err := finish(t, w, s, perennial.NewSecret(code[:46]), verifier)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectConnected, got.Outcome)
}

// TestShareable: a link without a challenge works as ever, names the tenant, and can be
// forbidden.
func TestShareable(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	p := w.Browser(t).Open(w.Link(t, connect.SessionRequest{TenantTitle: "Big Bank"}).Link.Reveal())
	assert.Contains(t, p.Text(), "Access goes to</dt><dd>"+Tenant, "whoever made the link chose the title, and not the tenant")
	assert.NotContains(t, w.Browser(t).Open(bound(t, w, connect.SessionRequest{}).Link.Reveal()).Text(), "Access goes to")

	s := w.Link(t, connect.SessionRequest{})
	_, err := finish(t, w, s, perennial.NewSecret("fc_x"), verifier)
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	w.Sessions.BoundOnly = true
	for name, req := range map[string]connect.SessionRequest{
		"shareable":     {},
		"no return URL": {Challenge: connect.Challenge(verifier)},
		"no challenge":  {Challenge: "plain", ReturnURL: w.Product.URL + "/settings"},
	} {
		req.Tenant, req.App = Tenant, CRM
		_, err := w.Sessions.CreateSession(t.Context(), perennial.WorkerAccess(), req)
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), name)
	}
	bound(t, w, connect.SessionRequest{})
	require.Equal(t, http.StatusOK, w.Browser(t).Open(s.Link.Reveal()).Status, "those that exist go on working")
}
