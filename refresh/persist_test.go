package refresh

import (
	"bytes"
	"context"
	"fmt"
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
func (b *bundle) unsaved(t testing.TB) store.SaveRequest {
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
	c, err = b.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
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
			before, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			hostile := req
			spoil(b, &hostile)
			_, err = b.Persist(t.Context(), hostile)
			require.Error(t, err)
			for _, c := range []perennial.Connection{before, other} {
				now, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), c.ID)
				require.NoError(t, err)
				assert.Equal(t, c, now)
			}
			lines, err := b.db.Attempts(t.Context(), perennial.WorkerAccess(), "con_2", 10)
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

// TestPersistBelievesTheSealOnly: no value beside the seal of a set counts; the values in
// the seal are stored.
func TestPersistBelievesTheSealOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	req := b.unsaved(t)
	far := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	altered := req
	altered.RefreshTokenDigest, altered.Digest, altered.Metadata = "another", "another", map[string]string{"instance_url": "https://elsewhere"}
	altered.ExpiresAt, altered.RefreshTokenExpiresAt, altered.GrantExpiresAt, altered.NextRefreshAt = far, far, far, far
	altered.AmbiguousSince, altered.NextAttemptAt, altered.FailingCode = far, far, "x"
	altered.Ledger = perennial.Attempt{ID: "x", StartedAt: far}
	res, err := b.Persist(t.Context(), altered)
	require.NoError(t, err)
	c := res.Connection
	assert.Equal(t, perennial.NewSecret("refresh 2").Digest(), c.RefreshTokenDigest)
	assert.WithinDuration(t, req.ExpiresAt, c.ExpiresAt, time.Second)
	assert.WithinDuration(t, req.NextRefreshAt, c.NextRefreshAt, time.Second)
	assert.Equal(t, perennial.HealthHealthy, c.Health)
	assert.Empty(t, c.Metadata)
	assert.Zero(t, []time.Time{c.RefreshTokenExpiresAt, c.GrantExpiresAt, c.NextAttemptAt, c.AmbiguousSince}[0])
	line, found, err := b.db.Attempt(t.Context(), "con_1", req.AttemptID)
	require.NoError(t, err)
	require.True(t, found)
	assert.WithinDuration(t, req.Ledger.StartedAt, line.StartedAt, time.Second)
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
}

// TestPersistOfTheReleaseBefore: a set without a seal over all fields is stored if its
// tokens open and its attempt is the row's. Only the tokens are believed.
func TestPersistOfTheReleaseBefore(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	req := b.unsaved(t)
	far := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	req.Seal, req.RefreshTokenDigest, req.Metadata, req.Scopes = nil, "another", map[string]string{"instance_url": "https://elsewhere"}, []string{"all"}
	req.ExpiresAt, req.RefreshTokenExpiresAt, req.NextRefreshAt, req.AmbiguousSince, req.Ledger.StartedAt = far, far, far, time.Time{}, far
	res, err := b.Persist(t.Context(), req)
	require.NoError(t, err)
	c := res.Connection
	assert.Equal(t, perennial.NewSecret("refresh 2").Digest(), c.RefreshTokenDigest)
	assert.Empty(t, c.Metadata)
	assert.Empty(t, c.Scopes)
	assert.Zero(t, c.ExpiresAt)
	assert.Zero(t, c.RefreshTokenExpiresAt)
	assert.False(t, c.NextRefreshAt.After(time.Now()), "due at once")
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
}

// choosy answers with a code to a set with scopes, as a database that refuses a text
// with a zero byte, or to every set.
type choosy struct {
	Store
	code       string
	everything bool
	times      int // how often it does
}

func (s *choosy) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	if (s.everything || len(req.Scopes) > 0) && s.times > 0 {
		s.times--
		return store.SaveResult{}, fmt.Errorf("save: %w", &pgconn.PgError{Code: s.code, Message: "no"})
	}
	return s.Store.Save(ctx, req)
}

// TestDatabaseRefusesAValue: the tokens are stored without a value that the database
// refuses. Every other error is tried again, with all values.
func TestDatabaseRefusesAValue(t *testing.T) {
	t.Parallel()
	for code, permanent := range map[string]bool{"22021": true, "22003": true, "22P02": true, "23505": true, "23514": true, "23502": true,
		"08006": false, "57P01": false, "40001": false, "40P01": false, "53300": false, "25006": false, "42P01": false, "55P03": false, "XX000": false} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			reply := fresh("2")
			reply.Tokens.Scopes = []string{"a"}
			b := setup(t, reply)
			b.Store = &choosy{Store: b.db, code: code, times: 2}
			res := b.refresh(t, t.Context(), 1)
			assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
			assert.EqualValues(t, 2, res.Connection.Generation)
			assert.Equal(t, !permanent, len(res.Connection.Scopes) > 0)
		})
	}
}

// TestDatabaseRefusesTheTokens: then the set is set aside at once, and the row says so.
func TestDatabaseRefusesTheTokens(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.Timing.SaveTimeout = time.Minute
	b.Store = &choosy{Store: b.db, code: "22021", everything: true, times: 4}
	began := time.Now()
	unsaved := b.refresh(t, t.Context(), 1).Unsaved
	require.NotNil(t, unsaved)
	assert.Less(t, time.Since(began), 30*time.Second, "no retry helps")
	row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	assert.Equal(t, store.CodeSetAside, row.FailingCode)
	assert.True(t, row.HasSetAside())
	_, err = b.Persist(t.Context(), *unsaved)
	assert.ErrorIs(t, err, ErrSetAside)
	res, err := b.Persist(t.Context(), *unsaved)
	require.NoError(t, err)
	assert.Equal(t, perennial.HealthHealthy, res.Connection.Health)
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
			row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), req.ID)
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
	row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
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
