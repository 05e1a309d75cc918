package connectui_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/provider"
)

// otherIssuer is a provider whose ID tokens have another issuer than the configuration.
type otherIssuer struct{ connect.Authorizer }

// Exchange implements connect.Authorizer.
func (o *otherIssuer) Exchange(ctx context.Context, app provider.App, secret perennial.Secret, code provider.AuthorizationCode) provider.Reply {
	if app.Name == Login {
		app.Provider.Issuer += "/"
	}
	return o.Authorizer.Exchange(ctx, app, secret, code)
}

// TestIDTokenOfAnotherIssuer: the page and the log say what differs, and the grant does
// not live on.
func TestIDTokenOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	w := New(t, func(a connect.Authorizer) connect.Authorizer { return &otherIssuer{a} })
	s := w.Link(t, connect.SessionRequest{App: Login})
	p := w.Browser(t).Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, "Acme Login could not be connected", p.Heading())
	assert.Contains(t, p.Text(), "they differ by a slash at the end")
	assert.Contains(t, w.Logs.String(), "they differ by a slash at the end")
	assert.Equal(t, perennial.ConnectMisconfigured, session(t, w, s.ID).Outcome)
	assert.True(t, grant(t, w.Issuer, Login, "62515").Revoked)
	assert.Empty(t, all(t, w))
}

// TestMixUp is RFC 9700 section 4.4: a response from one provider is not accepted as
// another's. The redirect URI differs, and so does iss if it is sent (RFC 9207).
func TestMixUp(t *testing.T) {
	t.Parallel()
	change := func(t *testing.T, callback string, do func(*url.URL, url.Values)) string {
		u, err := url.Parse(callback)
		require.NoError(t, err)
		q := u.Query()
		do(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for name, c := range map[string]struct {
		app string
		do  func(*url.URL, url.Values)
		why string // on the page and in the log
	}{
		"at another app's redirect URI": {CRM, func(u *url.URL, _ url.Values) { u.Path = "/connect/callback/books" }, "it arrived at the redirect URI of another app"},
		"another issuer":                {Login, func(_ *url.URL, q url.Values) { q.Set("iss", "https://attacker.example") }, `it names "https://attacker.example" and the configuration has "http://127.0.0.1:`},
		"an issuer with a slash more":   {Login, func(_ *url.URL, q url.Values) { q.Set("iss", q.Get("iss")+"/") }, "they differ by a slash at the end"},
		"no issuer where one is sent":   {Login, func(_ *url.URL, q url.Values) { q.Del("iss") }, "it names no issuer"},
		"markup as the issuer":          {Login, func(_ *url.URL, q url.Values) { q.Set("iss", "<b>x</b>") }, `it names "<b>x</b>"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := New(t, nil)
			b := w.Browser(t)
			s := w.Link(t, connect.SessionRequest{App: c.app})
			callback := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})
			p := b.Open(change(t, callback, c.do))
			assert.Regexp(t, "was not connected$", p.Heading())
			assert.Contains(t, p.Text(), "The answer did not come from Acme")
			assert.Contains(t, p.Text(), c.why)
			assert.NotContains(t, p.Body, "<b>")
			assert.Contains(t, w.Logs.String(), strings.ReplaceAll(c.why, `"`, `\"`))
			assert.Equal(t, perennial.ConnectMixedUp, session(t, w, s.ID).Outcome)
			b.Open(callback)
			assert.Zero(t, w.Provider.Oracle().TokenRequests+w.Issuer.Oracle().TokenRequests, "the code is shown to nobody, not even afterwards")
			assert.Empty(t, all(t, w))
		})
	}
}
