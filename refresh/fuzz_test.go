package refresh

import (
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watched stores nothing and notes the sets that it was asked to store.
type watched struct {
	Store
	saved  []store.SaveRequest
	marked []store.SetAsideRequest
}

func (w *watched) Save(_ context.Context, req store.SaveRequest) (store.SaveResult, error) {
	w.saved = append(w.saved, req)
	return store.SaveResult{}, nil
}

func (w *watched) MarkSetAside(_ context.Context, req store.SetAsideRequest) (perennial.Connection, error) {
	w.marked = append(w.marked, req)
	return perennial.Connection{}, nil
}

// FuzzPersist: no JSON that comes as a token set causes a panic; only a set that was
// received for its connection is stored, with the values that were sealed, and only a
// set of the row's own attempt stops the connection.
func FuzzPersist(f *testing.F) {
	b, req, names := persistSeeds(f)
	w := &watched{Store: b.db}
	b.Store = w
	before, _, err := b.db.Get(f.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var set store.SaveRequest
		if json.Unmarshal(raw, &set) != nil {
			return
		}
		w.saved, w.marked = nil, nil
		_, _ = b.Persist(t.Context(), set)
		for _, s := range w.saved {
			assert.Equal(t, "con_1", s.ID)
			token, err := b.keyring.Open(seal.BindingOf(before, seal.FieldRefreshToken, s.NewGeneration), s.RefreshTokenSealed)
			require.NoError(t, err)
			assert.Equal(t, "refresh 2", token.Reveal())
			assert.Equal(t, token.Digest(), s.RefreshTokenDigest)
			assert.Equal(t, req.AttemptID, s.AttemptID)
			assert.Equal(t, req.Generation, s.Generation)
			now := time.Now()
			assert.False(t, s.Ledger.StartedAt.After(now.Add(2*maxSkew)))
			assert.False(t, s.AmbiguousSince.After(now.Add(2*maxSkew)))
			for _, at := range []time.Time{s.ExpiresAt, s.RefreshTokenExpiresAt, s.GrantExpiresAt, s.NextRefreshAt, s.NextAttemptAt} {
				assert.False(t, at.After(now.Add(maxLife+time.Minute)))
			}
			if len(set.Seal) == 0 {
				assert.Empty(t, s.Metadata)
				assert.Empty(t, s.Scopes)
			} else {
				assert.Equal(t, names, s.Metadata)
			}
		}
		for _, m := range w.marked {
			assert.Equal(t, store.SetAsideRequest{ID: "con_1", Generation: req.Generation, NewGeneration: set.NewGeneration}, m)
			assert.Equal(t, []string{req.AttemptID, req.Digest}, []string{set.AttemptID, set.Digest})
		}
		row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
		require.NoError(t, err)
		assert.Equal(t, before, row)
	})
}

// persistSeeds returns an engine with an open attempt, the set of that attempt, and adds
// it and sets like it to f.
func persistSeeds(f *testing.F) (*bundle, store.SaveRequest, map[string]string) {
	names := map[string]string{"realm": "1"}
	reply := fresh("2")
	reply.Tokens.Metadata = names
	b := setupOn(f, "sqlite:"+filepath.Join(f.TempDir(), "fuzz.db"), reply)
	req := b.unsaved(f)
	add := func(change func(*store.SaveRequest)) {
		set := req
		change(&set)
		raw, err := json.Marshal(set)
		require.NoError(f, err)
		f.Add(raw)
	}
	foreign, err := seal.NewEphemeral()
	require.NoError(f, err)
	sealed, err := foreign.Seal(seal.BindingOf(b.c, seal.FieldSaveRequest, 2), perennial.NewSecret("{}"))
	require.NoError(f, err)
	add(func(*store.SaveRequest) {})
	add(func(r *store.SaveRequest) { r.Seal = nil })
	add(func(r *store.SaveRequest) { r.Seal = sealed })
	add(func(r *store.SaveRequest) { r.Seal, r.AttemptID = sealed, "foreign" })
	add(func(r *store.SaveRequest) { r.Seal, r.NewGeneration = sealed, perennial.MaxGeneration })
	add(func(r *store.SaveRequest) { r.NewGeneration = math.MaxInt64 })
	add(func(r *store.SaveRequest) { r.Generation, r.NewGeneration = math.MinInt64, math.MinInt64+1 })
	add(func(r *store.SaveRequest) {
		r.Seal, r.Ledger.StartedAt = nil, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	})
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"ID":"con_1","Seal":"AQ=="}`))
	return b, req, names
}
