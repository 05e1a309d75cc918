package catalogue

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// looked are the scenarios of a provider that renews no access token.
var looked = []scenario{
	{"life", lookedLife},
	{"lost-reply", lookedThroughAnOutage},
	{"revoked", lookedRevoked},
	{"other-account", otherLookedAccount},
	{"forged-callback", forgedCallback},
}

// scenariosOf returns the scenarios of an entry's kind.
func scenariosOf(e provider.Entry) []scenario {
	if e.Renewal == provider.RenewalNone {
		return looked
	}
	return scenarios
}

// lookedLife keeps a connection for a month. Its token is the same all the time, stays
// usable, and is looked at once a day.
func lookedLife(w *world, app string) {
	c := w.connects(app, 1)
	first := w.token(c, seal.FieldAccessToken)
	since, looks := time.Now(), 0
	for time.Since(since) < 30*24*time.Hour {
		res := w.step(c.ID)
		want(res.Outcome == perennial.OutcomeRefreshed, "a look is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
		looks++
		row := w.row(c.ID)
		want(row.Status == perennial.StatusActive && row.Health == perennial.HealthHealthy, "it is %s and %s (%s)", row.Status, row.Health, row.FailingCode)
		want(time.Until(row.ExpiresAt) > 365*24*time.Hour, "it is taken to end at %s", row.ExpiresAt)
		want(w.token(row, seal.FieldAccessToken).Digest() == first.Digest(), "it has another token")
	}
	want(looks >= 29 && looks <= 40, "it was looked at %d times in 30 days", looks)
	want(w.server.Accepts(first.Reveal()), "the provider does not accept the token")
}

// lookedThroughAnOutage: a provider that does not answer ends nothing and spends nothing.
func lookedThroughAnOutage(w *world, app string) {
	c := w.connects(app, 1)
	until := time.Now().Add(w.rest(c) + time.Hour)
	w.away = true
	for time.Now().Before(until) {
		res := w.step(c.ID)
		want(res.Outcome == perennial.OutcomeUnavailable, "a look without an answer is %s (%s)", res.Outcome, res.Code)
		row := w.row(c.ID)
		want(row.Status == perennial.StatusActive && !row.Ambiguous(), "it is %s", row.Status)
	}
	w.away = false
	want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed, "it is not looked at again")
}

// lookedRevoked: an access that the customer removes is noticed, confirmed, and ends as a
// refused grant. A new consent mends it.
func lookedRevoked(w *world, app string) {
	c := w.connects(app, 1)
	must(w.server.Revoke("client-"+app, c.AccountID))
	res := w.step(c.ID)
	want(res.Outcome == perennial.OutcomeRevoked, "a removed access is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
	want(res.Connection.Status == perennial.StatusActive, "one refusal is believed at once")
	res = w.settles(c.ID)
	want(res.Connection.Status == perennial.StatusReconnectRequired && res.Connection.Reason == perennial.ReasonInvalidGrant, "it is %s for %q", res.Connection.Status, res.Connection.Reason)
	session := w.consent(connect.SessionRequest{ConnectionID: c.ID}, c.AccountID, nil)
	want(session.Outcome == perennial.ConnectConnected && session.ResultID == c.ID, "the reconnect ends as %q", session.Outcome)
	want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed, "it is not looked at afterwards")
}

// otherLookedAccount: a reconnect of another account changes nothing.
func otherLookedAccount(w *world, app string) {
	c := w.connects(app, 1)
	session := w.consent(connect.SessionRequest{ConnectionID: c.ID}, w.account(2), nil)
	want(session.Outcome == perennial.ConnectAccountMismatch, "another account ends as %q", session.Outcome)
	want(w.row(c.ID).Generation == c.Generation, "its token was taken")
}

// TestLookedUntilItsEnd: a token of 60 days that nothing renews is looked at until then, and
// no look lengthens it. Its end is the grant's, and no customer's deed.
func TestLookedUntilItsEnd(t *testing.T) {
	t.Parallel()
	k, err := lookup("intercom")
	require.NoError(t, err)
	k.entry.DefaultLifetime, k.file = 60*24*time.Hour, fixtures.File{}
	found := run(t, migrated(t), k, k.entry, []scenario{{"life", func(w *world, app string) {
		c := w.connects(app, 1)
		end, looks := c.ExpiresAt, 0
		want((time.Until(end)-k.entry.DefaultLifetime).Abs() < time.Minute, "it ends at %s", end)
		for w.row(c.ID).Status == perennial.StatusActive {
			w.step(c.ID)
			row := w.row(c.ID)
			looks++
			want(row.Status != perennial.StatusActive || row.ExpiresAt.Sub(end).Abs() < time.Second, "a look moves the end to %s", row.ExpiresAt)
			want(looks < 100, "it is looked at for ever")
		}
		want(time.Since(end) >= 0 && time.Since(end) < time.Hour, "it was given up %s after its end", time.Since(end))
		want(w.row(c.ID).Reason == perennial.ReasonGrantEnded, "the reason is %q", w.row(c.ID).Reason)
	}}})
	assert.Empty(t, found)
}
