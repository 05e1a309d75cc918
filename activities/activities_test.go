package activities_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// fake returns what the test sets.
type fake struct {
	result refresh.Result
	row    perennial.Connection
	absent store.Absence
	err    error
	calls  refresh.Request

	persisted    []store.SaveRequest
	journalled   []store.SaveRequest
	journalFails int
	pacers       int
}

func (f *fake) Refresh(_ context.Context, req refresh.Request) (refresh.Result, error) {
	f.calls = req
	return f.result, f.err
}

func (f *fake) Persist(_ context.Context, req store.SaveRequest) (refresh.Result, error) {
	f.persisted = append(f.persisted, req)
	return f.result, f.err
}

func (f *fake) Unsaved(_ context.Context, _ perennial.Connection, req store.SaveRequest) error {
	if f.journalFails > 0 {
		f.journalFails--
		return errors.New("Temporal is away")
	}
	f.journalled = append(f.journalled, req)
	return nil
}

func (f *fake) Get(context.Context, perennial.Access, string) (perennial.Connection, time.Time, error) {
	return f.row, now, f.err
}

func (f *fake) Absence(context.Context, string) (store.Absence, bool, error) {
	return f.absent, true, nil
}

func (f *fake) SummarizeLedger(_ context.Context, _ string, from, to time.Time) (store.LedgerSummary, error) {
	return store.LedgerSummary{From: from, To: to, Refreshed: 3}, nil
}

func (f *fake) App(string) (provider.App, error) {
	return provider.App{Provider: provider.Entry{Title: "QuickBooks"}, Pacers: f.pacers}, nil
}

func do[R any](t *testing.T, f *fake, name string, arg any) (R, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	a := activities.New(f, f, f, f)
	env.RegisterActivity(a)
	methods := map[string]any{"Refresh": a.Refresh, "Load": a.Load, "PersistSealed": a.PersistSealed}
	var out R
	v, err := env.ExecuteActivity(methods[name], arg)
	if err == nil {
		require.NoError(t, v.Get(&out))
	}
	return out, err
}

func active(change func(*perennial.Connection)) perennial.Connection {
	c := perennial.Connection{ID: "con_1", App: "app", Provider: "quickbooks", Status: perennial.StatusActive, Health: perennial.HealthHealthy, Generation: 7,
		RefreshTokenDigest: "d", LastRefreshedAt: now.Add(-30 * time.Minute), ExpiresAt: now.Add(30 * time.Minute), NextRefreshAt: now.Add(20 * time.Minute)}
	if change != nil {
		change(&c)
	}
	return c
}

// TestShortWaitsAreRetriesAndLongOnesResults: ops see a short wait as a pending
// activity, and the workflow sleeps through a long one.
func TestShortWaitsAreRetriesAndLongOnesResults(t *testing.T) {
	t.Parallel()
	for _, outcome := range []perennial.Outcome{perennial.OutcomeBusy, perennial.OutcomeRevoked, perennial.OutcomeRateLimited,
		perennial.OutcomeUnavailable, perennial.OutcomeUnknown, perennial.OutcomeRejected} {
		for wait, retried := range map[time.Duration]bool{10 * time.Second: true, time.Minute: true, time.Minute + 1: false, 6 * time.Hour: false} {
			f := &fake{result: refresh.Result{Outcome: outcome, Code: "why", Connection: active(nil), Now: now, RetryAt: now.Add(wait)}}
			res, err := do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 7})
			if !retried {
				require.NoError(t, err, outcome)
				assert.Equal(t, outcome, res.Outcome)
				continue
			}
			var retry *temporal.ApplicationError
			require.ErrorAs(t, err, &retry, "%s after %s", outcome, wait)
			assert.Equal(t, string(outcome), retry.Type())
			assert.Equal(t, wait, retry.NextRetryDelay())
			assert.False(t, retry.NonRetryable())
			assert.Contains(t, retry.Message(), "generation 7 stays")

			res, err = do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 7, Once: true})
			require.NoError(t, err, "somebody waits: the first outcome is the answer")
			assert.Equal(t, outcome, res.Outcome)
		}
	}
}

// TestTheHeldRestOnTheirTimer: a throttled connection's workflow waits by its timer,
// however short the wait.
func TestTheHeldRestOnTheirTimer(t *testing.T) {
	t.Parallel()
	f := &fake{result: refresh.Result{Outcome: perennial.OutcomeThrottled, Code: store.CodeCircuitOpen, Connection: active(nil), Now: now, RetryAt: now.Add(time.Second)}}
	res, err := do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 7})
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	assert.False(t, res.Again)
}

// TestUnsavedTokensGoToTheWorkflow: they never cause a retry, which would present the
// token again.
func TestUnsavedTokensGoToTheWorkflow(t *testing.T) {
	t.Parallel()
	unsaved := store.SaveRequest{ID: "con_1", NewGeneration: 8, SealedTokens: store.SealedTokens{
		AccessTokenSealed:  []byte{1, 0, 255},
		RefreshTokenSealed: []byte{2},
		ExpiresAt:          now,
		Metadata:           map[string]string{"realm": "1"},
	},
		Ledger: perennial.Attempt{ID: "a1", StartedAt: now}}
	f := &fake{result: refresh.Result{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, Connection: active(nil), Now: now, RetryAt: now.Add(time.Second), Unsaved: &unsaved}}
	res, err := do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 7})
	require.NoError(t, err)
	require.NotNil(t, res.Unsaved)
	assert.Equal(t, unsaved, *res.Unsaved, "whole, over the history's encoding")
	f.result = refresh.Result{Outcome: perennial.OutcomeRefreshed, Connection: active(nil), Now: now}
	_, err = do[activities.RefreshResult](t, f, "PersistSealed", *res.Unsaved)
	require.NoError(t, err)
	assert.Equal(t, []store.SaveRequest{unsaved}, f.persisted)
}

// TestSetThatIsNotStored: a set is tried again only if the database cannot be asked, or
// if another worker or some time may help.
func TestSetThatIsNotStored(t *testing.T) {
	t.Parallel()
	for kind, err := range map[string]error{
		activities.ErrNotOurs:  perennial.Errorf(perennial.CodeInvalid, "generation 9 cannot follow"),
		activities.ErrSetAside: fmt.Errorf("no keys: %w", refresh.ErrSetAside),
		"other keys":           perennial.Errorf(perennial.CodeSealed, "does not open"),
		"no row":               perennial.Errorf(perennial.CodeNotFound, "no row"),
		"away":                 errors.New("connection refused"),
	} {
		_, err := do[activities.RefreshResult](t, &fake{err: err}, "PersistSealed", store.SaveRequest{ID: "con_1"})
		var failed *temporal.ApplicationError
		require.ErrorAs(t, err, &failed, kind)
		ends := kind == activities.ErrNotOurs || kind == activities.ErrSetAside
		assert.Equal(t, ends, failed.NonRetryable(), kind)
		assert.Equal(t, ends, failed.Type() == kind, kind)
	}
}

func TestTheUsersPartIsNoRetry(t *testing.T) {
	t.Parallel()
	lost := active(func(c *perennial.Connection) {
		c.Status, c.Reason = perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant
	})
	f := &fake{result: refresh.Result{Outcome: perennial.OutcomeRevoked, Connection: lost, Now: now}}
	res, err := do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 7})
	require.NoError(t, err)
	assert.Equal(t, "Reconnect needed: access was removed in QuickBooks", res.View.Words)
	assert.Empty(t, res.View.Trigger)
	assert.Equal(t, 24*time.Hour, res.View.Wait)
}

func TestStoreOutOfReachIsRetried(t *testing.T) {
	t.Parallel()
	f := &fake{err: errors.New("connection refused")}
	for _, name := range []string{"Refresh", "Load"} {
		var arg any = activities.LoadRequest{ConnectionID: "con_1"}
		if name == "Refresh" {
			arg = activities.RefreshRequest{ConnectionID: "con_1"}
		}
		_, err := do[activities.View](t, f, name, arg)
		var failed *temporal.ApplicationError
		require.ErrorAs(t, err, &failed)
		assert.False(t, failed.NonRetryable(), name)
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		row  perennial.Connection
		want func(*testing.T, activities.View)
	}{
		"asleep": {active(nil), func(t *testing.T, v activities.View) {
			assert.Equal(t, 20*time.Minute, v.Wait)
			assert.Equal(t, perennial.TriggerTimer, v.Trigger)
			assert.False(t, v.Young)
			assert.Zero(t, v.RetryAt)
		}},
		"overdue": {active(func(c *perennial.Connection) { c.NextRefreshAt = now.Add(-time.Hour) }), func(t *testing.T, v activities.View) { assert.Zero(t, v.Wait) }},
		"a wait in force": {active(func(c *perennial.Connection) { c.NextAttemptAt = now.Add(time.Hour) }), func(t *testing.T, v activities.View) {
			assert.Equal(t, now.Add(time.Hour), v.RetryAt)
		}},
		"a wait that is over":            {active(func(c *perennial.Connection) { c.NextAttemptAt = now }), func(t *testing.T, v activities.View) { assert.Zero(t, v.RetryAt) }},
		"a minute less a nanosecond old": {active(func(c *perennial.Connection) { c.LastRefreshedAt = now.Add(-time.Minute + 1) }), func(t *testing.T, v activities.View) { assert.True(t, v.Young) }},
		"a minute old":                   {active(func(c *perennial.Connection) { c.LastRefreshedAt = now.Add(-time.Minute) }), func(t *testing.T, v activities.View) { assert.False(t, v.Young) }},
		"a quarter of a short life": {active(func(c *perennial.Connection) {
			c.LastRefreshedAt, c.ExpiresAt = now.Add(-10*time.Second), now.Add(30*time.Second)
		}),
			func(t *testing.T, v activities.View) { assert.False(t, v.Young) }},
		"young but expired": {active(func(c *perennial.Connection) { c.LastRefreshedAt, c.ExpiresAt = now.Add(-time.Second), now }), func(t *testing.T, v activities.View) { assert.False(t, v.Young) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := do[activities.View](t, &fake{row: c.row}, "Load", activities.LoadRequest{ConnectionID: "con_1"})
			require.NoError(t, err)
			c.want(t, v)
		})
	}
}

// TestRefreshLocally: a local activity retries nothing, and its result has no sealed
// token set. It returns once the set is safe elsewhere.
func TestRefreshLocally(t *testing.T) {
	t.Parallel()
	row := perennial.Connection{ID: "con_1", App: "app", Status: perennial.StatusActive, Generation: 4}
	local := func(f *fake) activities.RefreshResult {
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		a := activities.New(f, f, f, f)
		v, err := env.ExecuteLocalActivity(a.RefreshLocally, activities.RefreshRequest{ConnectionID: "con_1", App: "app", Generation: 4})
		require.NoError(t, err)
		var out activities.RefreshResult
		require.NoError(t, v.Get(&out))
		return out
	}

	f := &fake{result: refresh.Result{Outcome: perennial.OutcomeUnavailable, Connection: row, Now: now, RetryAt: now.Add(time.Second)}}
	assert.True(t, local(f).Again, "the activity goes on")
	assert.Equal(t, "app", f.calls.App)
	f.result.RetryAt = now.Add(2 * time.Minute)
	assert.False(t, local(f).Again, "a workflow timer goes on")

	unsaved := store.SaveRequest{ID: "con_1", Generation: 4, NewGeneration: 5, SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("sealed")}}
	f = &fake{result: refresh.Result{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, Connection: row, Now: now, Unsaved: &unsaved}}
	out := local(f)
	assert.Nil(t, out.Unsaved)
	assert.Equal(t, refresh.CodeUnsaved, out.Code)
	assert.Equal(t, []store.SaveRequest{unsaved}, f.journalled)
	assert.Empty(t, f.persisted)

	f = &fake{result: f.result, journalFails: 1}
	local(f)
	assert.Equal(t, []store.SaveRequest{unsaved}, f.persisted, "Temporal is away, the store took it")
	assert.Empty(t, f.journalled)
}

// TestUnsavedIsSentToo: the server may have timed the activity out, so that nobody
// reads its result. The sealed set is also sent to the workflow as a signal.
func TestUnsavedIsSentToo(t *testing.T) {
	t.Parallel()
	unsaved := store.SaveRequest{ID: "con_1", Generation: 4, NewGeneration: 5}
	f := &fake{result: refresh.Result{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, Now: now, Unsaved: &unsaved}}
	out, err := do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 4})
	require.NoError(t, err)
	assert.Equal(t, &unsaved, out.Unsaved)
	assert.Equal(t, []store.SaveRequest{unsaved}, f.journalled)
}

// TestRefreshIsWhole: the engine gets everything that the workflow asks for, and the
// workflow everything that the engine says.
func TestRefreshIsWhole(t *testing.T) {
	t.Parallel()
	f := &fake{result: fill.Of[refresh.Result]()}
	f.result.RetryAt = f.result.Now.Add(time.Minute)
	req := fill.Of[activities.RefreshRequest]()
	req.Trigger = perennial.TriggerRevoked
	out, err := do[activities.RefreshResult](t, f, "Refresh", req)
	require.NoError(t, err)
	assert.Equal(t, req.Trigger, out.Reported)
	assert.Equal(t, []string{"Judged"}, fill.Zeros(f.calls), "only beside Temporal a row is judged")
	assert.Equal(t, req.Generation, f.calls.Floor, "from the workflow's own state")
	assert.Equal(t, []string{"Again", "RetryAt"}, fill.Zeros(out), "an unsaved set is stored first")
	f.result.Code = string(store.VerdictTooSoon)
	out, err = do[activities.RefreshResult](t, f, "Refresh", req)
	require.NoError(t, err)
	assert.Equal(t, f.result.RetryAt, out.RetryAt, "the caller hears when it may ask again")
}

// TestPendingAfterALocalTry: the activity that takes over after a failed local try finds
// the wait that this try wrote. It stays pending until then, and does not end as held.
func TestPendingAfterALocalTry(t *testing.T) {
	t.Parallel()
	held := func(code string, wait time.Duration, status perennial.Status) *fake {
		row := active(nil)
		row.Status = status
		return &fake{result: refresh.Result{Outcome: perennial.OutcomeThrottled, Code: code, Connection: row, Now: now, RetryAt: now.Add(wait)}}
	}
	for name, c := range map[string]struct {
		f       *fake
		once    bool
		pending bool
	}{
		"its own backoff":       {f: held("wait", 12*time.Second, perennial.StatusActive), pending: true},
		"for long":              {f: held("wait", time.Hour, perennial.StatusActive)},
		"a caller waits for it": {f: held("wait", 12*time.Second, perennial.StatusActive), once: true},
		"the app's circuit":     {f: held(store.CodeCircuitOpen, 12*time.Second, perennial.StatusActive)},
		"paused meanwhile":      {f: held("wait", 12*time.Second, perennial.StatusPaused)},
	} {
		_, err := do[activities.RefreshResult](t, c.f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1", Generation: 7, Once: c.once})
		if !c.pending {
			assert.NoError(t, err, name)
			continue
		}
		var again *temporal.ApplicationError
		require.ErrorAs(t, err, &again, name)
		assert.Equal(t, []any{"held", 12 * time.Second, false}, []any{again.Type(), again.NextRetryDelay(), again.NonRetryable()}, name)
	}
}

// TestAnswersOfTheStoreAreWhole: the workflow hears how a kept set was stored, and that a
// row is missing.
func TestAnswersOfTheStoreAreWhole(t *testing.T) {
	t.Parallel()
	f := &fake{result: fill.Of[refresh.Result]()}
	stored, err := do[activities.RefreshResult](t, f, "PersistSealed", store.SaveRequest{ID: "con_1"})
	require.NoError(t, err)
	assert.Equal(t, f.result.Outcome, stored.Outcome)
	assert.True(t, stored.Recovered)

	f.result, f.absent = refresh.Result{Outcome: perennial.OutcomeNotFound}, store.Absence{Tombstone: store.TombstoneErased}
	missing, err := do[activities.RefreshResult](t, f, "Refresh", activities.RefreshRequest{ConnectionID: "con_1"})
	require.NoError(t, err)
	assert.Equal(t, activities.RefreshResult{Outcome: perennial.OutcomeNotFound, View: activities.View{Gone: true, Tombstone: store.TombstoneErased}}, missing)
}
