package refresh

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unsaved is an engine whose token set could not be stored.
type unsaved struct {
	*Engine
	requests []Request
	saved    []store.SaveRequest
}

func (u *unsaved) Refresh(_ context.Context, req Request) (Result, error) {
	u.requests = append(u.requests, req)
	return Result{Outcome: perennial.OutcomeUnknown, Unsaved: &store.SaveRequest{ID: req.ConnectionID, NewGeneration: 4}}, nil
}

func (u *unsaved) SaveLater(ctx context.Context, req store.SaveRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u.saved = append(u.saved, req)
	return nil
}

// TestFallbackSavesLater: a set that the store did not take is kept, even if the caller
// has left.
func TestFallbackSavesLater(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	ctx, gone := context.WithCancel(t.Context())
	u := &unsaved{}
	var later func()
	f := &Fallback{Engine: u, Rows: b.db, Apps: b}
	res, err := f.Refresh(ctx, b.c, func(save func()) { later = save })
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeUnknown, res.Outcome)
	assert.Equal(t, []Request{{ConnectionID: "con_1", App: "app", Generation: 1, Trigger: perennial.TriggerFallback, Judged: b.c.UpdatedAt}}, u.requests)
	require.NotNil(t, later, "nobody else has the set")
	gone()
	later()
	assert.Equal(t, []store.SaveRequest{{ID: "con_1", NewGeneration: 4}}, u.saved)
}

// beside refreshes the connection beside Temporal.
func (b *bundle) beside(t *testing.T, sets func(context.Context, string) ([]store.SaveRequest, error)) (Result, error) {
	t.Helper()
	f := &Fallback{Engine: b.Engine, Rows: b.db, Apps: b, Sets: sets}
	return f.Refresh(t.Context(), b.c, func(save func()) { save() })
}

// leaveOpen leaves an attempt that was never closed, begun so long ago.
func (b *bundle) leaveOpen(t *testing.T, ago time.Duration) {
	t.Helper()
	claim, err := b.db.Claim(t.Context(), store.ClaimRequest{ID: b.c.ID, Generation: 1, Trigger: perennial.TriggerTimer, AttemptID: "lost", Lease: time.Minute, Class: b.app.Provider.ReplayClass})
	require.NoError(t, err)
	require.Equal(t, store.VerdictClaimed, claim.Verdict)
	b.set(t, "attempt_started_at", -ago)
	b.set(t, "attempt_deadline", -time.Second)
}

// set sets a column to a time from now.
func (b *bundle) set(t *testing.T, column string, in time.Duration) {
	t.Helper()
	now, err := b.db.Now(t.Context())
	require.NoError(t, err)
	b.exec(t, "UPDATE connections SET "+column+" = '"+now.Add(in).UTC().Format("2006-01-02 15:04:05.000")+"+00:00'")
}

// TestFallbackOfAnAttemptNeverClosed: nobody but the workflow may have its tokens. While
// Temporal does not answer, each class waits as long as it must.
func TestFallbackOfAnAttemptNeverClosed(t *testing.T) {
	t.Parallel()
	const soon, past = time.Minute, -time.Second // of the access token's end
	for name, c := range map[string]struct {
		class     perennial.ReplayClass
		ago, ends time.Duration
		presented bool
	}{
		"unknown":                           {perennial.ReplayUnknown, time.Hour, soon, false},
		"single use":                        {perennial.ReplaySingleUse, time.Hour, soon, false},
		"single use, expired":               {perennial.ReplaySingleUse, time.Hour, past, true},
		"reusable":                          {perennial.ReplayReusable, time.Second * 2, soon, true},
		"grace, first half":                 {perennial.ReplayGrace, 4 * time.Minute, soon, false},
		"grace, second half":                {perennial.ReplayGrace, 6 * time.Minute, soon, true},
		"grace, after it":                   {perennial.ReplayGrace, 11 * time.Minute, soon, false},
		"grace, first half, expired":        {perennial.ReplayGrace, 4 * time.Minute, past, true},
		"reuse revokes":                     {perennial.ReplayReuseRevokes, time.Hour, soon, false},
		"reuse revokes, expired":            {perennial.ReplayReuseRevokes, time.Hour, past, true},
		"reuse revokes, within any window":  {perennial.ReplayReuseRevokes, 6 * time.Minute, soon, false},
		"reuse revokes, and never was sent": {perennial.ReplayReuseRevokes, -1, soon, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"))
			b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = c.class, 10*time.Minute
			b.leaveOpen(t, c.ago)
			if c.ago > 0 {
				b.exec(t, "UPDATE connections SET attempt_sent = true")
			}
			b.set(t, "expires_at", c.ends)
			for _, sets := range []func(context.Context, string) ([]store.SaveRequest, error){nil,
				func(context.Context, string) ([]store.SaveRequest, error) { return nil, errors.New("no answer") }} {
				res, err := b.beside(t, sets)
				if c.presented {
					require.NoError(t, err)
					break
				}
				require.ErrorIs(t, err, ErrLeftToWorkflow)
				assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
				assert.Zero(t, res)
			}
			assert.Equal(t, c.presented, len(b.shown) == 1)
		})
	}
}

// TestFallbackAfterALostAttempt: an attempt that the next claim found lost was never
// closed either.
func TestFallbackAfterALostAttempt(t *testing.T) {
	t.Parallel()
	unknown := fresh("")
	unknown.Outcome = perennial.OutcomeUnknown
	b := setup(t, unknown, fresh("2"))
	b.leaveOpen(t, time.Hour)
	b.set(t, "expires_at", time.Minute)
	assert.Equal(t, perennial.OutcomeUnknown, b.refresh(t, t.Context(), 1).Outcome)
	b.exec(t, "UPDATE connections SET next_attempt_at = NULL")
	_, err := b.beside(t, nil)
	require.ErrorIs(t, err, ErrLeftToWorkflow)
	assert.Len(t, b.shown, 1)
	b.set(t, "expires_at", -time.Second)
	res, err := b.beside(t, nil)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
}

// TestFallbackOfAClosedAttempt: an attempt that was closed brought no tokens, and its
// class decides at once.
func TestFallbackOfAClosedAttempt(t *testing.T) {
	t.Parallel()
	unknown := fresh("")
	unknown.Outcome = perennial.OutcomeUnknown
	for class, want := range map[perennial.ReplayClass]perennial.Outcome{
		perennial.ReplayUnknown: perennial.OutcomeRefreshed, perennial.ReplaySingleUse: perennial.OutcomeRefreshed, perennial.ReplayReuseRevokes: perennial.OutcomeThrottled} {
		b := setup(t, unknown, fresh("2"))
		b.app.Provider.ReplayClass = class
		assert.Equal(t, perennial.OutcomeUnknown, b.refresh(t, t.Context(), 1).Outcome)
		b.exec(t, "UPDATE connections SET next_attempt_at = NULL")
		res, err := b.beside(t, nil)
		require.NoError(t, err, class)
		assert.Equal(t, want, res.Outcome, class)
	}
}

// TestFallbackStoresTheWorkflowsSet: Temporal answers for a workflow that does nothing. The
// set in it is stored, and nothing is presented. What is not the connection's counts for
// nothing.
func TestFallbackStoresTheWorkflowsSet(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	away := &flakySave{Store: b.db, fails: 100}
	b.Engine.Store = away
	lost := b.refresh(t, t.Context(), 1)
	require.NotNil(t, lost.Unsaved)
	b.Engine.memory.drop(*lost.Unsaved) // its process ends
	b.Engine.Store = b.db
	b.set(t, "attempt_deadline", -time.Second)
	foreign := *lost.Unsaved
	foreign.AccessTokenSealed, foreign.AttemptID = []byte("of somebody else"), "x"
	res, err := b.beside(t, func(_ context.Context, id string) ([]store.SaveRequest, error) {
		assert.Equal(t, "con_1", id)
		return []store.SaveRequest{*lost.Unsaved, foreign}, nil
	})
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, res.Outcome)
	assert.EqualValues(t, 2, res.Connection.Generation)
	assert.Equal(t, []string{"refresh 1"}, b.shown)
}

// TestFallbackWithoutASetInTheWorkflow: Temporal answers that there is none.
func TestFallbackWithoutASetInTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.leaveOpen(t, time.Hour)
	res, err := b.beside(t, func(context.Context, string) ([]store.SaveRequest, error) { return nil, nil })
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
}

// TestFallbackConfirmsNoRefusal: the second refusal, which would end the connection, must
// be the workflow's.
func TestFallbackConfirmsNoRefusal(t *testing.T) {
	t.Parallel()
	b := setup(t, refusal)
	res, err := b.beside(t, nil)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
	require.True(t, res.Connection.Suspect())
	b.exec(t, "UPDATE connections SET confirm_at = NULL")
	_, err = b.beside(t, nil)
	require.ErrorIs(t, err, ErrLeftToWorkflow)

	// The process had read the row before the first refusal.
	res, err = b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", App: "app", Generation: 1, Trigger: perennial.TriggerFallback})
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
	assert.Equal(t, perennial.StatusActive, res.Connection.Status)
	assert.Len(t, b.shown, 2)
	assert.Equal(t, perennial.StatusReconnectRequired, b.confirmed(t).Connection.Status, "by the workflow")
}

// TestFallbackWaitsForASetAside: a set that waits to be stored bars presenting beside
// Temporal too.
func TestFallbackWaitsForASetAside(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	_, err := b.db.MarkSetAside(t.Context(), store.SetAsideRequest{ID: "con_1", Generation: 1, NewGeneration: 2})
	require.NoError(t, err)
	b.exec(t, "UPDATE connections SET next_attempt_at = NULL")
	res, err := b.beside(t, nil)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	assert.Empty(t, b.shown)
}

// TestFallbackReadsTheRowAgain: another process's work since the first read counts.
func TestFallbackReadsTheRowAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	claim, err := b.db.Claim(t.Context(), store.ClaimRequest{ID: "con_1", Generation: 1, Trigger: perennial.TriggerTimer, AttemptID: "a", Lease: time.Minute, Class: perennial.ReplayUnknown})
	require.NoError(t, err)
	res, err := b.beside(t, nil)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeBusy, res.Outcome)
	_, _, err = b.db.CloseAttempt(t.Context(), store.CloseRequest{ID: "con_1", AttemptID: "a", Generation: 1, Digest: claim.Connection.Open.Digest,
		Ledger: perennial.Attempt{ID: "a", ConnectionID: "con_1", Generation: 1, Trigger: perennial.TriggerTimer, Outcome: perennial.OutcomeUnavailable, StartedAt: claim.Connection.Open.StartedAt}})
	require.NoError(t, err)
	b.refresh(t, t.Context(), 1)
	res, err = b.beside(t, nil)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, res.Outcome)
	assert.Len(t, b.shown, 1)
}
