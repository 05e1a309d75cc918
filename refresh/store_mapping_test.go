package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listener is a store that keeps the requests made to it.
type listener struct {
	*store.Store
	saves  []store.SaveRequest
	admits []store.AdmitRequest
	slot   time.Time // of the next admission, if it is set
}

func (l *listener) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	l.saves = append(l.saves, req)
	return l.Store.Save(ctx, req)
}

func (l *listener) Admit(ctx context.Context, req store.AdmitRequest) (store.Admission, error) {
	l.admits = append(l.admits, req)
	if !l.slot.IsZero() {
		return store.Admission{Admitted: true, SlotAt: l.slot}, nil
	}
	return l.Store.Admit(ctx, req)
}

// TestSaveIsWhole: a save brings everything that the store writes, and its answer says
// whether it made up for a lost attempt.
func TestSaveIsWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	l := &listener{Store: b.db}
	b.Engine.Store = l
	require.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 1).Outcome)
	require.Len(t, l.saves, 1)
	assert.Equal(t, []string{"TokenType", "Scopes", "Metadata", "RefreshTokenExpiresAt", "GrantExpiresAt", "FailingCode", "AmbiguousSince", "NextAttemptAt", "Seal"},
		fill.Zeros(l.saves[0]), "the reply was whole and said no more, and the save succeeded")
	a := &attempt{Engine: b.Engine, log: b.Engine.Log, row: b.c, now: time.Unix(1, 0)}
	assert.True(t, a.saved(store.SaveResult{Recovered: true}, provider.Reply{}).Recovered)
}

// TestNoteIsWhole: the circuit gets to know everything that it weighs.
func TestNoteIsWhole(t *testing.T) {
	t.Parallel()
	a := &attempt{Engine: New(Config{}), row: fill.Of[perennial.Connection](), app: fill.Of[provider.App]()}
	reply := fill.Of[provider.Reply]()
	reply.Outcome, a.app.Provider.RateLimitScope = perennial.OutcomeRateLimited, provider.ScopeHost
	assert.Empty(t, fill.Zeros(a.noteRequest(reply)))
}

// TestEachRequestHasItsSlot: the first request of an attempt goes at the slot that the
// gate gave, and the next asks for a slot of its own that it can still use.
func TestEachRequestHasItsSlot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := time.Unix(100, 0), time.Unix(200, 0) // both are over
	l := &listener{Store: b.db, slot: second}
	b.Engine.Store = l
	a := b.Engine.newAttempt(Request{ConnectionID: "con_1"}, store.Claim{Connection: b.c, Now: time.Now()}, time.Now())
	a.app.MaxRefreshesPerSecond, a.gate.SlotAt = 5, first
	require.NoError(t, a.waitForSlot(t.Context(), 0))
	assert.Equal(t, first, a.slot)
	require.NoError(t, a.waitForSlot(t.Context(), 1))
	assert.Equal(t, second, a.slot)
	require.Len(t, l.admits, 1)
	assert.Equal(t, b.Engine.Timing.HTTPTimeout, l.admits[0].Patience)
}

// TestRefusedClaimsAreWhole: a caller with an older generation gets the row's, and the
// database's time; a caller with a newer one gets the row's too.
func TestRefusedClaimsAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.refresh(t, t.Context(), 1)
	old := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, old.Outcome)
	assert.Equal(t, []string{"RetryAt", "Description", "HTTPStatus", "Recovered", "Unsaved"}, fill.Zeros(old))
	_, err := Request{Generation: 9}.over(perennial.Connection{ID: "con_1", Generation: 2})
	var ahead *perennial.GenerationAheadError
	require.ErrorAs(t, err, &ahead)
	assert.Empty(t, fill.Zeros(ahead))
}
