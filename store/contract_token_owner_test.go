package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sole returns a token set that only one connection may have.
func sole(generation int64, which string) store.TokenWrite {
	w := tokens(generation, which)
	w.Sole = true
	return w
}

// connectWith connects an account with a token that only one connection may have.
func (b *bundle) connectWith(ctx context.Context, tenant, app, account, which string) (perennial.Connection, error) {
	return b.Insert(ctx, perennial.WorkerAccess(), perennial.Connection{ID: uuid.NewString(), TenantID: tenant, App: app, Provider: "hubspot", AccountID: account}, sole(1, which))
}

func refusedInUse(t *testing.T, err error) {
	t.Helper()
	_, ok := errors.AsType[*store.TokenInUseError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
}

// testTokenOwner: a refresh token belongs to one live connection of its app.
func testTokenOwner(t *testing.T, b *bundle) {
	app, other := "app-"+uuid.NewString(), "app-"+uuid.NewString()
	first, err := b.connectWith(t.Context(), "acme", app, "a", "1")
	require.NoError(t, err)
	_, err = b.connectWith(t.Context(), "globex", app, "b", "1")
	refusedInUse(t, err)
	assert.NotContains(t, err.Error(), "acme")
	assert.NotContains(t, err.Error(), first.ID)
	require.Zero(t, b.Number(t, "SELECT count(*) FROM connections WHERE app = '"+app+"' AND account_id = 'b'"), "nothing is stored")
	_, err = b.connectWith(t.Context(), "globex", other, "b", "1")
	require.NoError(t, err, "another app's client has tokens of its own")
	second, err := b.connectWith(t.Context(), "globex", app, "b", "2")
	require.NoError(t, err)

	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), second.ID, "", 1, sole(2, "1"))
	refusedInUse(t, err)
	require.Equal(t, digest("2"), b.row(t, second.ID).RefreshTokenDigest, "nothing was changed")
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), second.ID, "", 1, sole(2, "2"))
	require.NoError(t, err, "its own")

	saved, err := b.Save(t.Context(), saveRequest(b.claimed(t, first, lease, single), "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored, "what a provider gives is stored, also if another has it")
	_, err = b.connectWith(t.Context(), "initech", app, "c", "1")
	refusedInUse(t, err)

	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), first.ID, []perennial.Status{perennial.StatusActive}, 2, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	_, err = b.connectWith(t.Context(), "initech", app, "c", "1")
	require.NoError(t, err, "after the disconnect")
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), first.ID, perennial.StatusDisconnected, 2, sole(3, "1"))
	refusedInUse(t, err)
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), second.ID, "", 2, sole(3, "3"))
	require.NoError(t, err)
	_, err = b.connectWith(t.Context(), "initech", app, "d", "2")
	require.NoError(t, err, "a reconnect lets go of the token before")
}

// testTokenOwnerLeft: a connection that ended without letting go, as an older program ends
// it, has no claim.
func testTokenOwnerLeft(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	for _, end := range []string{"UPDATE connections SET status = 'disconnected' WHERE id = '", "DELETE FROM connections WHERE id = '"} {
		which := uuid.NewString()
		c, err := b.connectWith(t.Context(), "acme", app, which, which)
		require.NoError(t, err)
		b.Exec(t, end+c.ID+"'")
		again, err := b.connectWith(t.Context(), "globex", app, which, which)
		require.NoError(t, err)
		_, err = b.connectWith(t.Context(), "acme", app, which, which)
		refusedInUse(t, err)
		require.Equal(t, 1, b.Number(t, "SELECT count(*) FROM token_owners WHERE connection_id = '"+again.ID+"'"))
	}
}

// testTokenOwnerAtOnce: of many that bring one token at once, one is connected; also if
// the token was a disconnected one's.
func testTokenOwnerAtOnce(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	left, err := b.connectWith(t.Context(), "acme", app, "left", "left")
	require.NoError(t, err)
	b.Exec(t, "UPDATE connections SET status = 'disconnected' WHERE id = '"+left.ID+"'")
	for _, which := range []string{"new", "left"} {
		var won, lost atomic.Int32
		b.together(t, func(ctx context.Context, s *store.Store, n int) error {
			id := uuid.NewString()
			_, err := s.Insert(ctx, perennial.WorkerAccess(), perennial.Connection{ID: id, TenantID: id, App: app, Provider: "hubspot", AccountID: which}, sole(1, which))
			if _, ok := errors.AsType[*store.TokenInUseError](err); ok {
				lost.Add(1)
				return nil
			}
			won.Add(1)
			return err
		})
		require.EqualValues(t, 1, won.Load(), which)
		require.Positive(t, lost.Load(), which)
	}
}

// testGrantReplaced: the oldest grant of an account is replaced by a newer one that was
// made since it last worked, and that works.
func testGrantReplaced(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	made := func(account string) perennial.Connection {
		c, err := b.connectWith(t.Context(), uuid.NewString(), app, account, uuid.NewString())
		require.NoError(t, err)
		return c
	}
	replaced := func(c perennial.Connection) bool {
		out, err := b.GrantReplaced(t.Context(), b.row(t, c.ID))
		require.NoError(t, err)
		return out
	}
	oldest := made("user")
	made("another user")
	require.False(t, replaced(oldest), "no newer one")
	middle := made("user")
	require.True(t, replaced(oldest))
	newest := made("user")
	require.True(t, replaced(oldest))
	require.False(t, replaced(middle), "an older one would have ended before it")
	require.False(t, replaced(newest))

	for _, c := range []perennial.Connection{middle, newest} {
		require.True(t, replaced(oldest))
		b.set(t, c.ID, "suspect_since", b.clock(t))
	}
	require.False(t, replaced(oldest), "they end too: the customer ended them")
	b.set(t, newest.ID, "suspect_since", "NULL")
	require.True(t, replaced(oldest))
	b.set(t, oldest.ID, "last_refreshed_at", stampText(b.row(t, newest.ID).CreatedAt.Add(time.Hour)))
	require.False(t, replaced(oldest), "it worked since then")
}
