package refresh

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const twoGrants = `{"bot":{"access_token":"bot-access-2","refresh_token":"bot-refresh-2","expires_in":3600},"user":{"access_token":"user-access-2","refresh_token":"user-refresh-2"}}`

func unreadable(body string) provider.Reply {
	return provider.Reply{Outcome: perennial.OutcomeUnknown, Code: provider.CodeMalformed, HTTPStatus: 200, Sent: true,
		Unread: provider.Unread{Body: perennial.NewSecret(body), Whole: true}}
}

// tokensOf opens the tokens of a row.
func (b *bundle) tokensOf(t *testing.T, c perennial.Connection) (access, refresh string) {
	t.Helper()
	open := func(field seal.Field, sealed []byte) string {
		token, err := b.keyring.Open(seal.BindingOf(c, field, c.Generation), sealed)
		require.NoError(t, err)
		return token.Reveal()
	}
	return open(seal.FieldAccessToken, c.AccessTokenSealed), open(seal.FieldRefreshToken, c.RefreshTokenSealed)
}

// TestUnreadableReplyIsKept: by each replay class, the reply is kept sealed; a class
// whose token may be shown again is presented again, and any other waits. Afterwards
// the reply is read with a corrected description, and nothing is presented for it.
func TestUnreadableReplyIsKept(t *testing.T) {
	t.Parallel()
	for _, class := range perennial.ReplayClasses {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			b := setup(t, unreadable(twoGrants))
			b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = class, time.Hour
			res := b.refresh(t, t.Context(), 1)
			require.Equal(t, perennial.OutcomeUnknown, res.Outcome)
			kept, ok, err := b.db.KeptReply(t.Context(), b.c.ID)
			require.NoError(t, err)
			require.True(t, ok)
			assert.NotContains(t, string(kept.Sealed), "bot-access")
			again := class == perennial.ReplayReusable || class == perennial.ReplayGrace
			assert.Equal(t, !again, res.Connection.HasSetAside())
			if !again {
				assert.Equal(t, store.CodeReplyKept, res.Connection.FailingCode)
				assert.True(t, res.Connection.NextAttemptAt.After(res.Now))
			}

			_, err = b.Recover(t.Context(), b.db, b.c.ID, Reading{})
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
			require.ErrorContains(t, err, "user.refresh_token")
			require.NotContains(t, err.Error(), "user-refresh")
			got, err := b.Recover(t.Context(), b.db, b.c.ID, Reading{Under: "bot"})
			require.NoError(t, err)
			assert.EqualValues(t, 2, got.Connection.Generation)
			access, refresh := b.tokensOf(t, got.Connection)
			assert.Equal(t, []string{"bot-access-2", "bot-refresh-2"}, []string{access, refresh})
			assert.Equal(t, perennial.HealthHealthy, got.Connection.Health)
			assert.False(t, got.Connection.Ambiguous())
			assert.WithinDuration(t, kept.SentAt.Add(time.Hour), got.Connection.ExpiresAt, time.Second)
			assert.Len(t, b.shown, 1)
			_, err = b.Recover(t.Context(), b.db, b.c.ID, Reading{Under: "bot"})
			require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "there is nothing more")
		})
	}
}

// TestRecoverHeals: a connection that is reconnect_required by now is active again.
func TestRecoverHeals(t *testing.T) {
	t.Parallel()
	b := setup(t, unreadable(`{"auth":{"key":"a-2","renew":"r-2"}}`), provider.Reply{Outcome: perennial.OutcomeRevoked, Code: "invalid_grant", HTTPStatus: 400, Sent: true})
	b.app.Provider.ReplayClass = perennial.ReplaySingleUse
	b.refresh(t, t.Context(), 1)
	_, err := b.db.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), b.c.ID)
	require.NoError(t, err)
	for range 2 {
		b.exec(t, "UPDATE connections SET next_attempt_at = NULL, confirm_at = NULL")
		b.refresh(t, t.Context(), 1)
	}
	c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), b.c.ID)
	require.NoError(t, err)
	require.Equal(t, []any{perennial.StatusReconnectRequired, perennial.ReasonRotationLost}, []any{c.Status, c.Reason})
	got, err := b.Recover(t.Context(), b.db, b.c.ID, Reading{MembersAt: map[string][]string{"access_token": {"auth.key"}, "refresh_token": {"auth.renew"}}})
	require.NoError(t, err)
	assert.True(t, got.Recovered)
	assert.Equal(t, perennial.StatusActive, got.Connection.Status)
	_, refresh := b.tokensOf(t, got.Connection)
	assert.Equal(t, "r-2", refresh)
}

// TestRecoverRefreshTokenAlone: the access token stays as it is, and the connection is
// due at once.
func TestRecoverRefreshTokenAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, unreadable(`{"refresh_token":"refresh-token-2"}`))
	before := b.c
	b.refresh(t, t.Context(), 1)
	got, err := b.Recover(t.Context(), b.db, b.c.ID, Reading{})
	require.NoError(t, err)
	access, refresh := b.tokensOf(t, got.Connection)
	old, _ := b.tokensOf(t, before)
	assert.Equal(t, []string{old, "refresh-token-2"}, []string{access, refresh})
	assert.Equal(t, before.ExpiresAt, got.Connection.ExpiresAt)
	assert.False(t, got.Connection.NextRefreshAt.After(got.Now))
}

// TestReadingIsLaidOver: a reading changes what it names, and only that.
func TestReadingIsLaidOver(t *testing.T) {
	t.Parallel()
	e := provider.Entry{TokensUnder: "a", MembersAt: map[string][]string{"scope": {"s"}, "access_token": {"x"}}}
	assert.Equal(t, e, Reading{}.over(e))
	got := Reading{Under: "b", MembersAt: map[string][]string{"access_token": {"y"}}}.over(e)
	assert.Equal(t, provider.Entry{TokensUnder: "b", MembersAt: map[string][]string{"scope": {"s"}, "access_token": {"y"}}}, got)
	assert.Equal(t, []string{"x"}, e.MembersAt["access_token"])
	assert.Empty(t, fill.Zeros(fill.Of[Reading]()))
}

// TestRecoverCut: of a reply that broke off within its refresh token, the access token is
// stored, and the old refresh token in doubt.
func TestRecoverCut(t *testing.T) {
	t.Parallel()
	for class, doubt := range map[perennial.ReplayClass]bool{perennial.ReplaySingleUse: true, perennial.ReplayReusable: false} {
		reply := unreadable(`{"data":{"access_token":"access-token-2","refresh_token":"refr`)
		reply.Unread.Whole = false
		b := setup(t, reply)
		b.app.Provider.ReplayClass = class
		b.refresh(t, t.Context(), 1)
		got, err := b.Recover(t.Context(), b.db, b.c.ID, Reading{Under: "data"})
		require.NoError(t, err)
		access, refresh := b.tokensOf(t, got.Connection)
		assert.Equal(t, []string{"access-token-2", "refresh 1"}, []string{access, refresh})
		assert.Equal(t, doubt, got.Connection.Ambiguous(), class)
	}
}

// unclosing is a store that does not close the next attempts.
type unclosing struct {
	*store.Store
	left int
}

func (u *unclosing) CloseAttempt(ctx context.Context, req store.CloseRequest) (perennial.Connection, bool, error) {
	if u.left > 0 {
		u.left--
		return perennial.Connection{}, false, errors.New("the database is away")
	}
	return u.Store.CloseAttempt(ctx, req)
}

// TestKeepTriesAgain: the process that has the reply repeats the write until it is done.
func TestKeepTriesAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, unreadable(twoGrants))
	b.Engine.Store = &unclosing{Store: b.db, left: 2}
	b.refresh(t, t.Context(), 1)
	_, ok, err := b.db.KeptReply(t.Context(), b.c.ID)
	require.NoError(t, err)
	require.True(t, ok)
}

// TestUnreadableReplyOverHTTP: the same with a real token endpoint. A second refresh sends
// it nothing.
func TestUnreadableReplyOverHTTP(t *testing.T) {
	t.Parallel()
	r := newReport(t, "hubspot", reported{200, twoGrants, ""})
	r.refreshed(t, "con_1", perennial.TriggerTimer)
	r.exec(t, "UPDATE connections SET next_attempt_at = NULL")
	res := r.refreshed(t, "con_1", perennial.TriggerTimer)
	assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	assert.Equal(t, string(store.VerdictSetAside), res.Code)
	assert.EqualValues(t, 1, r.requests.Load())
	got, err := r.Recover(t.Context(), r.db, "con_1", Reading{Under: "user"})
	require.NoError(t, err)
	access, refresh := r.tokensOf(t, got.Connection)
	assert.Equal(t, []string{"user-access-2", "user-refresh-2"}, []string{access, refresh})
}
