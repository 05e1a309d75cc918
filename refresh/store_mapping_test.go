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
	assert.Equal(t, []string{"TokenType", "Scopes", "Metadata", "RefreshTokenExpiresAt", "GrantExpiresAt", "FailingCode", "MissingScopes", "AmbiguousSince", "NextAttemptAt", "Seal"},
		fill.Zeros(l.saves[0]), "the reply was whole and said no more, and the save succeeded")
	assert.Equal(t, []string{"RetryAt", "Code", "Description", "HTTPStatus", "Unsaved"}, fill.Zeros(savedResult(fill.Of[store.SaveResult](), time.Unix(1, 0))))
}

// TestTokensAreWhole: a sealed token set has everything of the reply, and the app's client.
func TestTokensAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reply := fill.Of[perennial.TokenSet]()
	for _, life := range []*time.Duration{&reply.ExpiresIn, &reply.RefreshTokenExpiresIn, &reply.GrantExpiresIn} {
		*life = time.Hour
	}
	w, err := Tokens(b.keyring, b.app, b.c, 2, reply, perennial.NewSecret("2"), time.Unix(1, 0))
	require.NoError(t, err)
	assert.Equal(t, []string{"FailingCode", "Host", "Sole", "Unproven", "Reason"}, fill.Zeros(w), "the set has a lifetime and worked, where the connection was")
	assert.Equal(t, []any{reply.TokenType, reply.Scopes, reply.Metadata}, []any{w.TokenType, w.Scopes, w.Metadata})
}

// TestSetsComeBackWhole: a token set that could not be stored comes back as it left. Of a
// set of the release before, the tokens and the names of the set are believed.
func TestSetsComeBackWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	req := fill.Of[store.SaveRequest]()
	req.ID, req.Claimed = b.c.ID, perennial.Connection{} // the row does not leave the process
	require.NoError(t, Authenticate(b.keyring, b.c, &req))
	got, err := authentic(b.keyring, b.c, req)
	require.NoError(t, err)
	assert.Equal(t, req, got)
	old := tokensAlone(req)
	assert.Equal(t, []string{"TokenType", "Scopes", "Metadata", "RefreshTokenExpiresAt", "GrantExpiresAt", "FailingCode", "MissingScopes", "Claimed"}, fill.Zeros(old))
	assert.Equal(t, old.Ledger.StartedAt, old.NextRefreshAt)
	assert.Equal(t, []string{"ErrorCode", "RetryAfter", "Duration", "LifeLeft", "Lateness", "Retries", "RunID", "TraceID", "RequestID"}, fill.Zeros(old.Ledger))
}

// TestMadeWhole: the engine copies a row, a claim or a request whole.
func TestMadeWhole(t *testing.T) {
	t.Parallel()
	e := New(Config{})
	now := time.Unix(1, 0)
	c := fill.Of[perennial.Connection]()
	entry := fill.Of[provider.Entry]()
	for name, made := range map[string]struct {
		value any
		zeros []string
	}{
		"a claim":            {value: e.claimRequest(fill.Of[Request](), provider.Entry{ReplayClass: perennial.ReplayGrace, GraceWindow: time.Minute}), zeros: []string{"Ungated"}},
		"a probe given back": {value: e.returnProbeRequest(c, entry)},
		"a set aside":        {value: setAsideRequest(fill.Of[store.SaveRequest]())},
		"a claim of many":    {value: claimedRequest(c, "run_1"), zeros: []string{"Floor", "Judged"}},
		"beside Temporal":    {value: besideTemporal(c), zeros: []string{"Floor", "RunID"}},
		"busy":               {value: busy(c, now), zeros: []string{"Code", "Description", "HTTPStatus", "Recovered", "Unsaved"}},
		"not claimed":        {value: New(Config{}).notClaimed(fill.Of[store.Claim](), perennial.OutcomeThrottled), zeros: []string{"Description", "HTTPStatus", "Recovered", "Unsaved"}},
		"a close after a failure": {value: decide(c, entry, provider.Reply{Outcome: perennial.OutcomeUnknown, Code: "http_504"}, now, time.Second),
			zeros: []string{"ID", "AttemptID", "Generation", "Digest", "Suspect", "ConfirmAfter", "Terminal", "Kept", "Bar", "Ledger"}},
	} {
		assert.ElementsMatch(t, made.zeros, fill.Zeros(made.value), name)
	}
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
	assert.Empty(t, fill.Zeros(l.admits[0]))
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
