package workflows

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

// world is one connection's row and its provider, on the test environment's virtual
// clock. It replaces the engine where years must pass. Package refresh and package e2e
// test the engine itself.
type world struct {
	mu      sync.Mutex
	now     time.Time
	c       perennial.Connection
	gone    bool
	ended   store.Tombstone // the tombstone of a row that is gone
	life    time.Duration   // of an access token
	idle    time.Duration   // of the refresh token; 0: none
	revoked bool
	unsaved int           // number of refreshes whose tokens cannot be stored at once
	heldFor time.Duration // the wait that a refresh returns; 0: none
	tooSoon time.Time     // until then a request is refused

	persistFails, persisted int
	given                   []store.SaveRequest
	refuses                 error // Persist returns it until it is nil

	unregistered map[string]bool // search attributes
	revisions    gives

	endsWithout int // number of next refreshes that end without a result
	endedAt     time.Time
	pacers      int
	paced       bool   // pacers refresh it, always in time
	actions     int    // those that Temporal bills: runs, timers, activities and their retries, workflow tasks with local activities
	during      func() // called during a refresh
	seen        func() // called once, after the row was read
	gets        int
	asked       []int64     // requested generations
	summarized  []time.Time // since when each summary is
	refreshedAt []time.Time
	triggers    map[perennial.Trigger]int
	problems    []string
}

func newWorld(life, idle time.Duration) *world {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &world{now: start, life: life, idle: idle, triggers: map[perennial.Trigger]int{}}
	w.c = perennial.Connection{ID: "con_1", TenantID: "t1", App: "app", Provider: "quickbooks", AccountID: "a1",
		Status: perennial.StatusActive, Health: perennial.HealthHealthy, RefreshTokenDigest: "d1", CreatedAt: start}
	w.store(start)
	return w
}

// store gives the row a new token set.
func (w *world) store(now time.Time) {
	w.c.Generation++
	w.c.LastRefreshedAt = now
	w.c.ExpiresAt = now.Add(w.life)
	if w.idle > 0 {
		w.c.RefreshTokenExpiresAt = now.Add(w.idle)
	}
	life := w.life
	if w.c.Dormant(now) {
		life = 2 * day // as in the engine: only the refresh token matters
	}
	w.c.NextRefreshAt = timing.Due(now, life, provider.BufferQueue, w.c.ID, w.c.Generation)
}

func (w *world) App(string) (provider.App, error) {
	return provider.App{Name: "app", Provider: provider.Entry{Name: "quickbooks", Title: "QuickBooks"}, Pacers: w.pacers}, nil
}

func (w *world) Get(_ context.Context, _ perennial.Access, id string) (perennial.Connection, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gets++
	for w.paced && !w.c.NextRefreshAt.After(w.now) { // its pacer was in time
		w.store(w.c.NextRefreshAt)
	}
	if seen := w.seen; seen != nil {
		w.seen = nil
		defer seen()
	}
	if w.gone {
		return perennial.Connection{}, time.Time{}, perennial.Errorf(perennial.CodeNotFound, "no connection %s", id)
	}
	return w.c, w.now, nil
}

// Registered implements [activities.Attributes].
func (w *world) Registered(_ context.Context, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.unregistered[name]
}

// Known implements [activities.Attributes].
func (w *world) Known(ctx context.Context, name string) bool { return w.Registered(ctx, name) }

// Revision implements [activities.Revisions].
func (w *world) Revision(context.Context, string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.revisions)
}

// answers sets the answer of later local activities.
func (w *world) answers(g gives) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revisions = g
}

func (w *world) Absence(context.Context, string) (store.Absence, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return store.Absence{Tombstone: w.ended}, w.gone, nil
}

// SummarizeLedger returns an empty summary: the simulation has no ledger.
func (w *world) SummarizeLedger(_ context.Context, _ string, from, to time.Time) (store.LedgerSummary, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.summarized = append(w.summarized, from)
	return store.LedgerSummary{From: from, To: to}, nil
}

func (w *world) Refresh(_ context.Context, req refresh.Request) (refresh.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.triggers[req.Trigger]++
	w.asked = append(w.asked, req.Generation)
	if w.during != nil {
		defer w.during()
	}
	if w.endsWithout > 0 {
		w.endsWithout--
		w.endedAt = w.now
		return refresh.Result{}, temporal.NewNonRetryableApplicationError("timed out", "test", nil)
	}
	switch {
	case w.gone:
		return refresh.Result{Outcome: perennial.OutcomeNotFound}, nil
	case w.c.Generation > req.Generation:
		return refresh.Result{Outcome: perennial.OutcomeAlreadyFresh, Connection: w.c, Now: w.now}, nil
	case w.c.Status != perennial.StatusActive && req.Trigger != perennial.TriggerKeepAlive:
		return refresh.Result{Outcome: perennial.OutcomeRefused, Connection: w.c, Now: w.now}, nil
	case req.Trigger == perennial.TriggerRequest && w.now.Before(w.tooSoon):
		return refresh.Result{Outcome: perennial.OutcomeThrottled, Code: string(store.VerdictTooSoon), Connection: w.c, Now: w.now, RetryAt: w.tooSoon}, nil
	case w.heldFor > 0:
		w.c.NextAttemptAt, w.c.QueuedAt = w.now.Add(w.heldFor), w.now
		return refresh.Result{Outcome: perennial.OutcomeThrottled, Code: store.CodeCircuitOpen, Connection: w.c, Now: w.now, RetryAt: w.c.NextAttemptAt}, nil
	case w.idle > 0 && w.now.After(w.c.RefreshTokenExpiresAt):
		w.problems = append(w.problems, fmt.Sprintf("%s: the refresh token had been idle for too long", w.now))
		w.revoked = true
	}
	if w.revoked {
		w.c.Status, w.c.Reason = perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant
		return refresh.Result{Outcome: perennial.OutcomeRevoked, Connection: w.c, Now: w.now}, nil
	}
	if w.c.Status == perennial.StatusActive && !w.c.ExpiresAt.IsZero() && w.now.After(w.c.ExpiresAt) {
		w.problems = append(w.problems, fmt.Sprintf("%s: the access token had expired", w.now))
	}
	if w.unsaved > 0 {
		w.unsaved--
		return refresh.Result{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, Connection: w.c, Now: w.now,
			Unsaved: &store.SaveRequest{ID: w.c.ID, Generation: w.c.Generation, NewGeneration: w.c.Generation + 1}}, nil
	}
	w.c.RefreshCount++
	w.store(w.now)
	w.refreshedAt = append(w.refreshedAt, w.now)
	return refresh.Result{Outcome: perennial.OutcomeRefreshed, Connection: w.c, Now: w.now}, nil
}

// Persist fails as often as the test says, then stores the set.
func (w *world) Persist(_ context.Context, req store.SaveRequest) (refresh.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given = append(w.given, req)
	if w.persistFails > 0 {
		w.persistFails--
		return refresh.Result{}, errors.New("the database is away")
	}
	if w.refuses != nil {
		return refresh.Result{}, w.refuses
	}
	if req.Generation == w.c.Generation {
		w.c.RefreshCount++
		w.store(w.now)
		w.persisted++
	}
	return refresh.Result{Outcome: perennial.OutcomeRefreshed, Connection: w.c, Now: w.now}, nil
}

// set changes the row as another process would.
func (w *world) set(change func(*perennial.Connection)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.c)
}

func (w *world) status(s perennial.Status) func() {
	return func() { w.set(func(c *perennial.Connection) { c.Status = s }) }
}

// run is one run of the workflow, with callbacks at virtual delays.
type runSimulation struct {
	*testsuite.TestWorkflowEnvironment
	w *world
}

// ExecuteWorkflow runs the workflow. A state with a past comes from the run before.
func (r *runSimulation) ExecuteWorkflow(name any, args ...any) {
	if s, ok := args[0].(State); ok && (s.View != nil || s.Generation != 0 || s.Refreshes != 0 || len(s.SetAside) > 0 || !s.Digested.IsZero()) {
		r.SetContinuedExecutionRunID("the run before")
	}
	r.TestWorkflowEnvironment.ExecuteWorkflow(name, args...)
}

// Unsaved is the journal: the message is there in the next workflow task.
func (r *runSimulation) Unsaved(_ context.Context, _ perennial.Connection, req store.SaveRequest) error {
	r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalUnsaved, req) }, time.Millisecond)
	return nil
}

func (w *world) newRun(t testing.TB, o Options) *runSimulation {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(w.now)
	env.SetTestTimeout(time.Minute)
	env.SetWorkflowRunTimeout(10 * 365 * 24 * time.Hour)
	Register(env, o)
	env.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: ID(w.c.ID), WorkflowRunTimeout: 10 * 365 * 24 * time.Hour})
	r := &runSimulation{env, w}
	acts := activities.New(w, w, w, r)
	acts.Attributes, acts.Revisions = w, w
	env.RegisterActivity(acts)
	clock := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now = env.Now().UTC()
	}
	bill := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.actions++
	}
	env.SetOnTimerScheduledListener(func(string, time.Duration) { bill() })
	env.SetOnActivityStartedListener(func(*activity.Info, context.Context, converter.EncodedValues) { clock(); bill() })
	env.SetOnLocalActivityStartedListener(func(*activity.Info, context.Context, []any) { clock(); bill() })
	return r
}

// live runs the workflow over continue-as-new until it ends, the clock passes forTime,
// or a check fails. It returns the number of runs.
func (w *world) live(t testing.TB, o Options, forTime time.Duration) int {
	t.Helper()
	end := w.now.Add(forTime)
	state := NewState(w.c.ID)
	for runs := 1; ; runs++ {
		r := w.newRun(t, o)
		w.actions++
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, end.Sub(w.now))
		r.ExecuteWorkflow(ConnectionWorkflow, state)
		require.True(t, r.IsWorkflowCompleted())
		err := r.GetWorkflowError()
		var next *workflow.ContinueAsNewError
		if !errors.As(err, &next) {
			return runs
		}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &state))
		if w.now = r.Now().UTC(); !w.now.Before(end) {
			return runs
		}
	}
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
