package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unread closes the open attempt of c, whose reply could not be read.
func (b *bundle) unread(t *testing.T, c perennial.Connection, sealed string, bar bool) perennial.Connection {
	t.Helper()
	req := closeRequest(c, perennial.OutcomeUnknown)
	req.Failed, req.FailingAfter, req.FailingCode, req.Ambiguous, req.Bar = true, 1, "malformed_reply", true, bar
	req.Kept = &store.KeptReply{Sealed: []byte(sealed), Whole: true}
	after, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	return after
}

// testKeptReply: a reply that could not be read comes back as it was kept, the first of
// its generation, and is gone with the generation.
func testKeptReply(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	after := b.unread(t, c, "first", true)
	kept, ok, err := b.KeptReply(t.Context(), c.ID)
	require.NoError(t, err)
	require.True(t, ok)
	assert.WithinDuration(t, after.UpdatedAt, kept.KeptAt, time.Minute)
	want := store.KeptReply{ConnectionID: c.ID, App: c.App, Generation: 1, Digest: c.RefreshTokenDigest, AttemptID: c.Open.ID, Sealed: []byte("first"), Whole: true,
		SentAt: c.Open.StartedAt, KeptAt: kept.KeptAt}
	assert.Equal(t, want, kept)
	assert.Equal(t, []string{"GivenUp"}, fill.Zeros(kept))
	want.Sealed = nil
	all, err := b.KeptReplies(t.Context(), 10)
	require.NoError(t, err)
	assert.Equal(t, []store.KeptReply{want}, all, "without its content")

	b.Exec(t, "UPDATE connections SET next_attempt_at = NULL WHERE id = '"+c.ID+"'")
	again := b.claimed(t, after, lease, perennial.ReplayReusable)
	b.unread(t, again, "second", false)
	kept, _, err = b.KeptReply(t.Context(), c.ID)
	require.NoError(t, err)
	assert.Equal(t, "first", string(kept.Sealed))

	b.Exec(t, "UPDATE connections SET next_attempt_at = NULL WHERE id = '"+c.ID+"'")
	saved, err := b.Save(t.Context(), saveRequest(b.claimed(t, after, lease, perennial.ReplayReusable), "2"))
	require.NoError(t, err)
	_, ok, err = b.KeptReply(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, ok, "useless")
	b.unread(t, b.claimed(t, saved.Connection, lease, single), "of the next generation", true)
	kept, _, err = b.KeptReply(t.Context(), c.ID)
	require.NoError(t, err)
	assert.Equal(t, "of the next generation", string(kept.Sealed))
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, 2, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	_, ok, err = b.KeptReply(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, ok, "wiped")
	require.Zero(t, b.Number(t, "SELECT count(*) FROM kept_replies"))
}

// testKeptReplyBars: while a reply is kept, its refresh token is not presented, unless
// the close says that it may be, and no refusal is terminal before a day after the
// access token's end.
func testKeptReplyBars(t *testing.T, b *bundle) {
	c := b.unread(t, b.claimed(t, b.connect(t), lease, single), "x", true)
	require.Equal(t, []any{perennial.StatusActive, perennial.HealthFailing, store.CodeReplyKept}, []any{c.Status, c.Health, c.FailingCode})
	require.True(t, c.Ambiguous())
	b.Exec(t, "UPDATE connections SET next_attempt_at = NULL WHERE id = '"+c.ID+"'")
	require.Equal(t, store.VerdictSetAside, b.claim(t, c, lease, single).Verdict)
	b.Exec(t, "UPDATE connections SET next_attempt_at = NULL WHERE id = '"+c.ID+"'")
	refused := func(c perennial.Connection) perennial.Connection {
		req := closeRequest(b.claimed(t, c, lease, perennial.ReplayReusable), perennial.OutcomeRevoked)
		req.Terminal = perennial.ReasonInvalidGrant
		after, _, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		return after
	}
	c = refused(c)
	require.Equal(t, perennial.StatusActive, c.Status, "not believed yet")
	require.Equal(t, store.CodeReplyKept, c.FailingCode)
	require.True(t, c.NextAttemptAt.After(c.UpdatedAt))

	for name, end := range map[string]string{
		"over":     "UPDATE kept_replies SET kept_at = '" + at(-25*time.Hour) + "'",
		"given up": "",
	} {
		c := b.unread(t, b.claimed(t, b.connect(t), lease, single), "x", false)
		b.Exec(t, "UPDATE connections SET next_attempt_at = NULL, expires_at = '"+at(-25*time.Hour)+"' WHERE id = '"+c.ID+"'")
		if end == "" {
			_, err := b.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), c.ID)
			require.NoError(t, err)
		} else {
			b.Exec(t, end+" WHERE connection_id = '"+c.ID+"'")
		}
		require.Equal(t, perennial.StatusReconnectRequired, refused(c).Status, name)
		_, ok, err := b.KeptReply(t.Context(), c.ID)
		require.NoError(t, err)
		require.True(t, ok, "%s: it can still be read", name)
	}
}

// testKeptReplyBounds: an app has a bounded number of kept replies, the sweep deletes
// the useless ones, and a close whose guards fail keeps none.
func testKeptReplyBounds(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	late := closeRequest(c, perennial.OutcomeUnknown)
	late.Kept, late.Generation = &store.KeptReply{Sealed: []byte("x")}, 2
	_, closed, err := b.CloseAttempt(t.Context(), late)
	require.NoError(t, err)
	require.False(t, closed)
	require.Zero(t, b.Number(t, "SELECT count(*) FROM kept_replies"))
	var rows []string
	for i := range 1000 {
		rows = append(rows, fmt.Sprintf("('con_%d', '%s', 1, 'd', 'a', 'x', true, '%s', '%s')", i, c.App, at(-time.Hour), at(-time.Hour)))
	}
	b.Exec(t, "INSERT INTO kept_replies (connection_id, app, generation, digest, attempt_id, reply_sealed, whole, sent_at, kept_at) VALUES "+strings.Join(rows, ", "))
	after := b.unread(t, c, "one too many", true)
	require.Equal(t, "malformed_reply", after.FailingCode)
	require.False(t, after.HasSetAside(), "what is not kept bars nothing")
	_, ok, err := b.KeptReply(t.Context(), c.ID)
	require.NoError(t, err)
	require.False(t, ok)
	b.Exec(t, "UPDATE connections SET next_attempt_at = NULL WHERE id = '"+c.ID+"'")
	deleted, err := b.Prune(t.Context(), time.Hour, 5000)
	require.NoError(t, err)
	require.EqualValues(t, 1000, deleted)
	b.unread(t, b.claimed(t, after, lease, single), "kept", true)
	_, err = b.Prune(t.Context(), time.Hour, 5000)
	require.NoError(t, err)
	require.EqualValues(t, 1, b.Number(t, "SELECT count(*) FROM kept_replies"), "it may bring tokens")
}
