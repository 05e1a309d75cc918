package connectui_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/provider"
)

// organisations is a world in which a grant of the app Web reaches the organisations of
// a list, and which counts revocations.
type organisations struct {
	*World
	connect.Authorizer
	list    atomic.Value
	source  provider.AccountSource
	revoked atomic.Int32
	asked   atomic.Int32
}

// Account implements connect.Authorizer.
func (o *organisations) Account(ctx context.Context, app provider.App, secret, token perennial.Secret, hint, host string) (provider.Account, error) {
	if app.Name == Web {
		app.Provider.Account = o.source
	}
	return o.Authorizer.Account(ctx, app, secret, token, hint, host)
}

// Revoke implements connect.Authorizer.
func (o *organisations) Revoke(ctx context.Context, app provider.App, token perennial.Secret) error {
	o.revoked.Add(1)
	return o.Authorizer.Revoke(ctx, app, token)
}

// reach makes a grant reach these organisations.
func (o *organisations) reach(ids ...string) {
	var list []string
	for _, id := range ids {
		list = append(list, fmt.Sprintf(`{"id":"x-%[1]s","tenantId":%[1]q,"tenantName":"The <b>%[1]s</b>"}`, id))
	}
	o.list.Store("[" + strings.Join(list, ",") + "]")
}

func reaching(t *testing.T, ids ...string) *organisations {
	t.Helper()
	o := &organisations{}
	o.reach(ids...)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		o.asked.Add(1)
		_, _ = io.WriteString(rw, o.list.Load().(string))
	}))
	t.Cleanup(server.Close)
	xero, ok := provider.Lookup("xero")
	require.True(t, ok)
	o.source = xero.Account // as the catalogue says, but for the address
	o.source.URL = server.URL
	o.World = New(t, func(a connect.Authorizer) connect.Authorizer { o.Authorizer = a; return o })
	return o
}

var radio = regexp.MustCompile(`type="radio" name="account" value="([^"]*)"`)

// offered returns the accounts that a page offers.
func offered(p Page) (out []string) {
	for _, m := range radio.FindAllStringSubmatch(p.Body, -1) {
		out = append(out, m[1])
	}
	return out
}

// pick sends the form of the page with an account.
func pick(b *Browser, s connect.Session, p Page, account string) Page {
	return b.Do(http.MethodPost, s.Link.Reveal(), url.Values{"form": {p.FormToken()}, "account": {account}}, nil)
}

// TestReconnectOfOneOfSeveral: a reconnect takes the connection's own organisation,
// wherever it stands in the list. The grant is neither refused nor revoked.
func TestReconnectOfOneOfSeveral(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-b")
	o.Browser(t).Go(o.Link(t, connect.SessionRequest{App: Web}).Link.Reveal(), Consent{})
	c := only(t, o.World)
	require.Equal(t, "org-b", c.AccountID, "a list of one needs no choice")
	for i, list := range [][]string{{"org-a", "org-b"}, {"org-b", "org-a"}, {"org-a", "org-c", "org-b"}, {"org-b"}} {
		o.reach(list...)
		o.Exec(t, "UPDATE connections SET status = 'reconnect_required', reason = 'invalid_grant'")
		p := o.Browser(t).Go(o.Link(t, connect.SessionRequest{ConnectionID: c.ID}).Link.Reveal(), Consent{})
		assert.Equal(t, "Acme Web is connected", p.Heading(), list)
		now := only(t, o.World)
		assert.Equal(t, []any{perennial.StatusActive, "org-b", c.Generation + int64(i) + 1}, []any{now.Status, now.AccountID, now.Generation}, list)
	}
	assert.Zero(t, o.revoked.Load())

	o.reach("org-a", "org-c")
	p := o.Browser(t).Go(o.Link(t, connect.SessionRequest{ConnectionID: c.ID}).Link.Reveal(), Consent{})
	assert.Equal(t, "That is another account", p.Heading())
	assert.Equal(t, int32(1), o.revoked.Load(), "nobody uses it")
}

// TestChooseAccount: the grant waits, sealed, until the customer has chosen. It is stored
// once, under that account.
func TestChooseAccount(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-a", "org-b", "org-c")
	s := o.Link(t, connect.SessionRequest{App: Web, ReturnURL: o.Product.URL + "/settings"})
	b := o.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, "Which one do you want to connect?", p.Heading())
	assert.Equal(t, []string{"org-a", "org-b", "org-c"}, offered(p))
	assert.Contains(t, p.Text(), "The <b>org-b</b>", "a name is text")
	assert.NotContains(t, p.Body, "<b>")
	assert.Contains(t, p.Text(), "connect_outcome=cancelled", "the way back")
	assert.Empty(t, all(t, o.World))
	waiting := session(t, o.World, s.ID)
	assert.Equal(t, perennial.ConnectChooseAccount, waiting.Outcome)
	n, err := o.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Empty(t, all(t, o.World), "nobody chose yet")

	other := o.Browser(t)
	elsewhere := other.Open(s.Link.Reveal())
	assert.Equal(t, "This sign-in began in another browser", elsewhere.Heading())
	assert.NotContains(t, elsewhere.Body, "org-a")
	assert.Equal(t, http.StatusForbidden, pick(other, s, p, "org-a").Status)
	for _, wrong := range []string{"", "org-d", "ORG-A", "org-a "} {
		again := pick(b, s, p, wrong)
		assert.Equal(t, http.StatusBadRequest, again.Status, wrong)
		assert.Len(t, offered(again), 3, wrong)
	}
	assert.Equal(t, http.StatusForbidden, b.Do(http.MethodPost, s.Link.Reveal(), url.Values{"form": {"forged"}, "account": {"org-a"}}, nil).Status)
	assert.Empty(t, all(t, o.World))

	o.Exec(t, "UPDATE connect_sessions SET expires_at = clock_timestamp()") // the consent has been given
	end := pick(b, s, b.Open(s.Link.Reveal()), "org-b")
	assert.Equal(t, "Acme Web is connected", end.Heading())
	assert.Contains(t, end.Refresh(), "connect_outcome=connected")
	c := only(t, o.World)
	assert.Equal(t, "org-b", c.AccountID)
	assert.Equal(t, grant(t, o.Provider, Web, "62515").LiveRefreshTokens, []string{c.RefreshTokenDigest})
	assert.Equal(t, int32(1), o.asked.Load(), "the list is asked for once")
	assert.Empty(t, session(t, o.World, s.ID).ReplySealed)
	pick(b, s, p, "org-a")
	assert.Equal(t, c, only(t, o.World), "the first choice counts")
	assert.Zero(t, o.revoked.Load())
}

// TestChoiceInAPopup: the opener hears nothing before the choice.
func TestChoiceInAPopup(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-a", "org-b")
	s := o.Link(t, connect.SessionRequest{App: Web, ReturnURL: o.Product.URL + "/settings", Mode: perennial.ConnectPopup})
	b := o.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.NotContains(t, p.Body, "<script")
	assert.Equal(t, s.Link.Reveal(), pick(b, s, p, "org-a").Location)
	assert.Contains(t, b.Open(s.Link.Reveal()).Text(), `"outcome":"connected"`)
}

// TestChosenAtOnce: of several forms at once, one is the choice.
func TestChosenAtOnce(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-a", "org-b")
	s := o.Link(t, connect.SessionRequest{App: Web})
	b := o.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	var wait sync.WaitGroup
	for i := range 8 {
		same := o.Browser(t)
		same.Use(b.Jar)
		wait.Go(func() { pick(same, s, p, []string{"org-a", "org-b"}[i%2]) })
	}
	wait.Wait()
	assert.Equal(t, int64(1), only(t, o.World).Generation)
}

// TestNotChosen: a grant without a choice is refused like any other. It is not
// revoked if a connection of an account that it reaches works.
func TestNotChosen(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"unused": false, "one is another tenant's": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := reaching(t, "org-b")
			if used {
				o.Browser(t).Go(o.Link(t, connect.SessionRequest{App: Web, Tenant: "t2"}).Link.Reveal(), Consent{})
			}
			o.reach("org-a", "org-b")
			s := o.Link(t, connect.SessionRequest{App: Web, ReturnURL: o.Product.URL + "/settings"})
			b := o.Browser(t)
			p := b.Go(s.Link.Reveal(), Consent{})
			o.Exec(t, "UPDATE connect_sessions SET lease_until = clock_timestamp() WHERE outcome = 'choose_account'")
			assert.NotEqual(t, "Acme Web is connected", b.Open(pick(b, s, p, "org-a").Location).Heading(), "too late")
			_, err := o.Sessions.FinishAll(t.Context(), 10)
			require.NoError(t, err)
			ended := session(t, o.World, s.ID)
			assert.Equal(t, perennial.ConnectNotChosen, ended.Outcome)
			assert.Empty(t, ended.ReplySealed)
			end := b.Open(s.Link.Reveal())
			assert.Equal(t, "Acme Web was not connected", end.Heading())
			assert.Contains(t, end.Text(), "connect_outcome=account_not_chosen")
			if used {
				assert.Zero(t, o.revoked.Load(), "it would end the other connection")
				only(t, o.World)
				return
			}
			assert.Equal(t, int32(1), o.revoked.Load())
			assert.Empty(t, all(t, o.World))
			assert.Equal(t, "Which one do you want to connect?", b.Open(b.Answer(b.Begin(end), Consent{})).Heading(), "the link works again")
		})
	}
}

// TestCrashAfterTheChoice: FinishAll stores what was chosen, even if the list has another
// order now.
func TestCrashAfterTheChoice(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-a", "org-b")
	s := o.Link(t, connect.SessionRequest{App: Web})
	b := o.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	o.Exec(t, "ALTER TABLE connections RENAME TO away")
	pick(b, s, p, "org-b")
	o.Exec(t, "ALTER TABLE away RENAME TO connections")
	assert.Equal(t, perennial.ConnectUnfinished, session(t, o.World, s.ID).Outcome)
	o.reach("org-a")
	o.Exec(t, "UPDATE connect_sessions SET lease_until = NULL")
	n, err := o.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, "org-b", only(t, o.World).AccountID)
}

// TestScopesBeforeTheChoice: a grant that is refused anyway needs no choice.
func TestScopesBeforeTheChoice(t *testing.T) {
	t.Parallel()
	o := reaching(t, "org-a", "org-b")
	p := o.Browser(t).Go(o.Link(t, connect.SessionRequest{App: Web, Scopes: []string{"read", "write"}}).Link.Reveal(), Consent{Without: []string{"write"}})
	assert.Equal(t, "Permissions are missing", p.Heading())
	assert.Equal(t, int32(1), o.revoked.Load())
}

// severalInReply is a provider whose token reply names several accounts.
type severalInReply struct{ connect.Authorizer }

// Exchange implements connect.Authorizer.
func (s *severalInReply) Exchange(ctx context.Context, app provider.App, secret perennial.Secret, code provider.AuthorizationCode) provider.Reply {
	reply := s.Authorizer.Exchange(ctx, app, secret, code)
	reply.Accounts = []provider.Choice{{ID: "adv-1"}, {ID: "adv-2"}}
	return reply
}

// TestSeveralInTheReply: the list may be in the token reply itself.
func TestSeveralInTheReply(t *testing.T) {
	t.Parallel()
	w := New(t, func(a connect.Authorizer) connect.Authorizer { return &severalInReply{a} })
	s := w.Link(t, connect.SessionRequest{App: Hub})
	b := w.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	require.Equal(t, []string{"adv-1", "adv-2"}, offered(p))
	pick(b, s, p, "adv-2")
	c := only(t, w)
	assert.Equal(t, "adv-2", c.AccountID)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{ConnectionID: c.ID}).Link.Reveal(), Consent{})
	assert.Equal(t, c.Generation+1, only(t, w).Generation)
}
