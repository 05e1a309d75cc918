package refresh

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unsaved returns the token set of a refresh of con_1 that could not be stored.
func (b *bundle) unsaved(t *testing.T) store.SaveRequest {
	t.Helper()
	whole := b.Timing.SaveTimeout
	b.Timing.SaveTimeout = 100 * time.Millisecond
	b.Store = &flakySave{Store: b.db, fails: 1 << 30}
	res := b.refresh(t, t.Context(), 1)
	require.NotNil(t, res.Unsaved)
	b.Store, b.Timing.SaveTimeout = b.db, whole
	return *res.Unsaved
}

// other creates a second connection of the same app.
func (b *bundle) other(t *testing.T) perennial.Connection {
	t.Helper()
	c := perennial.Connection{ID: "con_2", TenantID: "t", App: "app", Provider: "generic", AccountID: "b"}
	w, err := Tokens(b.keyring, b.app, c, 1, fresh("other").Tokens, fresh("other").Tokens.RefreshToken, time.Now())
	require.NoError(t, err)
	c, err = b.db.Insert(t.Context(), c, w)
	require.NoError(t, err)
	return c
}

// TestPersistStoresNothingForeign: a set that is not sealed as the row's own tokens, at
// the row's next generation, changes no row.
func TestPersistStoresNothingForeign(t *testing.T) {
	t.Parallel()
	foreign, err := seal.NewEphemeral()
	require.NoError(t, err)
	for name, spoil := range map[string]func(*bundle, *store.SaveRequest){
		"garbage": func(_ *bundle, r *store.SaveRequest) {
			r.AccessTokenSealed, r.RefreshTokenSealed = []byte("x"), []byte("y")
		},
		"nothing sealed": func(_ *bundle, r *store.SaveRequest) { r.AccessTokenSealed, r.RefreshTokenSealed = nil, nil },
		"the fields exchanged": func(_ *bundle, r *store.SaveRequest) {
			r.AccessTokenSealed, r.RefreshTokenSealed = r.RefreshTokenSealed, r.AccessTokenSealed
		},
		"a garbled refresh token": func(_ *bundle, r *store.SaveRequest) {
			r.RefreshTokenSealed = append([]byte(nil), r.RefreshTokenSealed[1:]...)
		},
		"for another connection": func(_ *bundle, r *store.SaveRequest) { r.ID = "con_2" },
		"another, at a later number": func(_ *bundle, r *store.SaveRequest) {
			r.ID, r.Generation, r.NewGeneration = "con_2", 7, 8
			r.Ledger.StartedAt = time.Now().Add(time.Hour)
		},
		"its number changed":          func(_ *bundle, r *store.SaveRequest) { r.NewGeneration = 3 },
		"a number without successor":  func(_ *bundle, r *store.SaveRequest) { r.NewGeneration = math.MaxInt64 },
		"a number that overflowed":    func(_ *bundle, r *store.SaveRequest) { r.NewGeneration = math.MinInt64 },
		"a number that does not rise": func(_ *bundle, r *store.SaveRequest) { r.NewGeneration = 1 },
		"both numbers far away": func(_ *bundle, r *store.SaveRequest) {
			r.Generation, r.NewGeneration = 1<<52, 1<<52+1
			r.Ledger.StartedAt = time.Now().Add(time.Hour)
		},
		"far away, and sealed for it": func(b *bundle, r *store.SaveRequest) {
			r.Generation, r.NewGeneration = 20_000, 20_001
			r.Ledger.StartedAt = time.Now().Add(time.Hour)
			b.seal(r)
		},
		"sealed by somebody else's key": func(b *bundle, r *store.SaveRequest) { b.Sealer = foreign; b.seal(r); b.Sealer = b.keyring },
		"empty":                         func(_ *bundle, r *store.SaveRequest) { *r = store.SaveRequest{} },
		"no such connection":            func(_ *bundle, r *store.SaveRequest) { r.ID = "con_3" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"))
			other := b.other(t)
			req := b.unsaved(t)
			before, _, err := b.db.Get(t.Context(), "con_1")
			require.NoError(t, err)
			hostile := req
			spoil(b, &hostile)
			_, err = b.Persist(t.Context(), hostile)
			require.Error(t, err)
			for _, c := range []perennial.Connection{before, other} {
				now, _, err := b.db.Get(t.Context(), c.ID)
				require.NoError(t, err)
				assert.Equal(t, c, now)
			}
			lines, err := b.db.Attempts(t.Context(), "con_2", 10)
			require.NoError(t, err)
			assert.Empty(t, lines)
			stored, err := b.Persist(t.Context(), req)
			require.NoError(t, err, "and the true one still is")
			assert.EqualValues(t, 2, stored.Connection.Generation)
		})
	}
}

// seal seals the tokens of req as those of con_1 at its new generation.
func (b *bundle) seal(req *store.SaveRequest) {
	req.AccessTokenSealed, _ = b.Sealer.Seal(seal.BindingOf(b.c, seal.FieldAccessToken, req.NewGeneration), perennial.NewSecret("a"))
	req.RefreshTokenSealed, _ = b.Sealer.Seal(seal.BindingOf(b.c, seal.FieldRefreshToken, req.NewGeneration), perennial.NewSecret("r"))
}

// TestPersistBelievesTheSealOnly: the digest is computed from the opened token, and no
// time is further ahead than a token can live.
func TestPersistBelievesTheSealOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	req := b.unsaved(t)
	far := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	req.RefreshTokenDigest = "another"
	req.ExpiresAt, req.RefreshTokenExpiresAt, req.GrantExpiresAt, req.NextRefreshAt = far, far, far, far
	res, err := b.Persist(t.Context(), req)
	require.NoError(t, err)
	c := res.Connection
	assert.Equal(t, perennial.NewSecret("refresh 2").Digest(), c.RefreshTokenDigest)
	for _, at := range []time.Time{c.ExpiresAt, c.RefreshTokenExpiresAt, c.GrantExpiresAt, c.NextRefreshAt} {
		assert.True(t, at.Before(time.Now().Add(maxLife)), at)
	}
	assert.False(t, c.NextRefreshAt.After(time.Now()), "due at once")
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
}

// TestPersistNeedsTheKeys: the set of the row's open attempt is tried again, by a
// process that has its keys. When the row no longer has that attempt, the set is set
// aside.
func TestPersistNeedsTheKeys(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	req := b.unsaved(t)
	other, err := seal.NewEphemeral()
	require.NoError(t, err)
	b.Sealer = other
	_, err = b.Persist(t.Context(), req)
	assert.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
	assert.NotErrorIs(t, err, ErrSetAside)
	unknown := req
	unknown.AttemptID = "another"
	_, err = b.Persist(t.Context(), unknown)
	assert.ErrorIs(t, err, ErrSetAside)
	assert.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))

	b.Sealer = b.keyring
	_, err = b.Persist(t.Context(), req)
	require.NoError(t, err)
	b.Sealer = other
	res, err := b.Persist(t.Context(), req)
	require.NoError(t, err, "the row has moved on: it is finished without its keys")
	assert.Equal(t, perennial.OutcomeAlreadyFresh, res.Outcome)
}

// choosy refuses scopes, as a database refuses a text with a zero byte.
type choosy struct {
	Store
	everything bool
}

func (s choosy) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	if s.everything || len(req.Scopes) > 0 {
		return store.SaveResult{}, &pgconn.PgError{Code: "22021", Message: "invalid byte sequence"}
	}
	return s.Store.Save(ctx, req)
}

// TestDatabaseRefusesAValue: the tokens are stored without a value that the database
// refuses. If it refuses the tokens too, they are kept.
func TestDatabaseRefusesAValue(t *testing.T) {
	t.Parallel()
	reply := fresh("2")
	reply.Tokens.Scopes = []string{"a\x00b"}
	b := setup(t, reply)
	b.Store = choosy{Store: b.db}
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	assert.EqualValues(t, 2, res.Connection.Generation)

	b = setup(t, fresh("2"))
	b.Timing.SaveTimeout = 100 * time.Millisecond
	b.Store = choosy{Store: b.db, everything: true}
	unsaved := b.refresh(t, t.Context(), 1).Unsaved
	require.NotNil(t, unsaved)
	_, err := b.Persist(t.Context(), *unsaved)
	assert.ErrorIs(t, err, ErrSetAside)
	b.Store = b.db
	_, err = b.Persist(t.Context(), *unsaved)
	assert.NoError(t, err)
}

// TestRowMissing: a kept set whose row is missing stays, and is logged and counted
// once. It does not prevent another from being stored, and is stored when the row is
// back.
func TestRowMissing(t *testing.T) {
	t.Parallel()
	for name, inSpool := range map[string]bool{"in the spool": true, "in memory": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"))
			var logged bytes.Buffer
			b.Engine.Log = slog.New(slog.NewTextHandler(&logged, nil))
			counted := &counter{}
			b.Observer = counted
			kept, err := spool.Open(t.TempDir(), 0)
			require.NoError(t, err)
			if inSpool {
				b.Spool = kept
			}
			req := b.unsaved(t)
			empty, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "empty.db"))
			require.NoError(t, err)
			defer empty.Close()
			_, _, err = empty.Migrate(t.Context())
			require.NoError(t, err)
			b.Store = empty
			logged.Reset()
			for range 5 {
				assert.NoError(t, b.StoreUnsaved(t.Context()))
			}
			assert.Equal(t, 1, strings.Count(logged.String(), "cannot be stored"), logged.String())
			assert.Equal(t, 1, counted.refused)
			holds, err := b.hasUnsaved(req.ID, 1)
			require.NoError(t, err)
			assert.True(t, holds, "it is the only copy")
			if inSpool {
				b.Engine = New(b.Config) // a restart: memory is empty
			}
			b.Store = b.db
			require.NoError(t, b.StoreUnsaved(t.Context()))
			row, _, err := b.db.Get(t.Context(), req.ID)
			require.NoError(t, err)
			assert.EqualValues(t, 2, row.Generation)
			holds, err = b.hasUnsaved(req.ID, 1)
			require.NoError(t, err)
			assert.False(t, holds)
		})
	}
}

type counter struct{ refused int }

func (c *counter) Observe(o Observation) {
	if o.UnsavedRefused {
		c.refused++
	}
}

// TestOneBadSetStopsNoOther: sets that cannot be stored, now or ever, come before and
// beside a good one.
func TestOneBadSetStopsNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	dir := t.TempDir()
	kept, err := spool.Open(dir, 0)
	require.NoError(t, err)
	b.Spool = kept
	req := b.unsaved(t)
	other := b.other(t)
	never := req
	never.ID, never.AttemptID, never.Generation, never.NewGeneration = other.ID, "never", 20_000, 20_001
	never.Ledger.StartedAt = time.Now().Add(time.Hour)
	for field, to := range map[seal.Field]*[]byte{seal.FieldAccessToken: &never.AccessTokenSealed, seal.FieldRefreshToken: &never.RefreshTokenSealed} {
		*to, err = b.keyring.Seal(seal.BindingOf(other, field, never.NewGeneration), perennial.NewSecret("x"))
		require.NoError(t, err)
	}
	missing := req
	missing.ID, missing.AttemptID = "con_0", "missing"
	for _, bad := range []store.SaveRequest{never, missing} {
		require.NoError(t, kept.Add(bad))
	}
	require.NoError(t, b.StoreUnsaved(t.Context()))
	row, _, err := b.db.Get(t.Context(), "con_1")
	require.NoError(t, err)
	assert.EqualValues(t, 2, row.Generation)
	sets, notStored, err := kept.Count()
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{sets, notStored}, "the missing row's set waits; the impossible one is set aside")
	aside, err := filepath.Glob(filepath.Join(dir, "*.set-aside"))
	require.NoError(t, err)
	assert.Len(t, aside, 1, "never deleted")
	res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: other.ID, Generation: 1, Trigger: perennial.TriggerTimer})
	require.NoError(t, err, "and bars nothing")
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
}
