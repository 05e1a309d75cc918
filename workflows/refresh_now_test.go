package workflows

import (
	"math"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
)

func TestRefreshNow(t *testing.T) {
	t.Parallel()
	finish := func(t *testing.T, r *runSimulation, at time.Duration) {
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, at)
		r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
		require.True(t, r.IsWorkflowCompleted())
	}
	t.Run("an old enough token is refreshed", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		got := ask(r, time.Minute, RefreshNow{})
		finish(t, r, 2*time.Minute)
		require.NoError(t, got.err)
		assert.Equal(t, perennial.OutcomeRefreshed, got.reply.Outcome)
		assert.EqualValues(t, 2, got.reply.Generation)
		assert.Equal(t, 1, w.triggers[perennial.TriggerRequest])
	})
	t.Run("a product's report names the refresh, an unknown one does not", func(t *testing.T) {
		for why, want := range map[perennial.RefusalCause]perennial.Trigger{"": perennial.TriggerRequest, perennial.RefusalTokenRefused: perennial.TriggerTokenRefused,
			perennial.RefusalRevoked: perennial.TriggerRevoked, "of a newer version": perennial.TriggerRequest} {
			w := newWorld(time.Hour, 0)
			r := w.newRun(t, Options{})
			got, plain := ask(r, time.Minute, RefreshNow{IfGeneration: 1, Why: why}), ask(r, 10*time.Minute, RefreshNow{IfGeneration: 2})
			r.RegisterDelayedCallback(func() {
				recent := queryStatus(t, r.TestWorkflowEnvironment).Recent
				if assert.NotEmpty(t, recent) {
					assert.Equal(t, want.Reported(), recent[0].Reported == want, why)
				}
			}, 2*time.Minute)
			finish(t, r, 11*time.Minute)
			require.NoError(t, got.err)
			require.NoError(t, plain.err)
			assert.EqualValues(t, 3, plain.reply.Generation)
			requests := map[perennial.Trigger]int{perennial.TriggerRequest: 1}
			requests[want]++
			assert.Equal(t, requests, w.triggers, "the next one is a mere request again")
		}
	})
	t.Run("a token younger than a minute is already fresh", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		got := ask(r, 59*time.Second, RefreshNow{})
		finish(t, r, 2*time.Minute)
		require.NoError(t, got.err)
		assert.Equal(t, perennial.OutcomeAlreadyFresh, got.reply.Outcome)
		assert.Empty(t, w.refreshedAt)
	})
	t.Run("a generation that moved on is already fresh", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		w.c.Generation = 5
		r := w.newRun(t, Options{})
		got := ask(r, 5*time.Minute, RefreshNow{IfGeneration: 4})
		finish(t, r, 6*time.Minute)
		require.NoError(t, got.err)
		assert.Equal(t, RefreshNowReply{Outcome: perennial.OutcomeAlreadyFresh, Generation: 5, ExpiresAt: w.c.ExpiresAt}, got.reply)
	})
	for _, n := range []int64{6, 10_006, 1 << 62, math.MaxInt64} {
		w := newWorld(time.Hour, 0)
		w.c.Generation = 5
		r := w.newRun(t, Options{})
		got := ask(r, 5*time.Minute, RefreshNow{IfGeneration: n})
		finish(t, r, 6*time.Minute)
		var refused *temporal.ApplicationError
		require.ErrorAs(t, got.err, &refused, "a generation above the row's")
		assert.Equal(t, string(perennial.CodeGenerationAhead), refused.Type())
		var row int64
		require.NoError(t, refused.Details(&row))
		assert.EqualValues(t, 5, row)
		assert.Empty(t, w.refreshedAt, n)
		assert.LessOrEqual(t, w.gets, 2, "one look each")
	}
	t.Run("its own generation refreshes even a young token", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		got := ask(r, time.Second, RefreshNow{IfGeneration: 1})
		finish(t, r, time.Minute)
		require.NoError(t, got.err)
		assert.Equal(t, perennial.OutcomeRefreshed, got.reply.Outcome)
	})
	t.Run("one that came too soon hears when it may again", func(t *testing.T) {
		for _, revision := range []int{1, 2} {
			w := newWorld(time.Hour, 0)
			w.tooSoon = w.now.Add(10 * time.Minute)
			r := w.newRun(t, Options{})
			soon, later := ask(r, 5*time.Minute, RefreshNow{IfGeneration: 1}), ask(r, 11*time.Minute, RefreshNow{IfGeneration: 1})
			state := NewState("con_1")
			state.Revision = revision
			r.RegisterDelayedCallback(func() {
				require.Equal(t, perennial.OutcomeThrottled, soon.reply.Outcome)
				require.Empty(t, w.refreshedAt)
			}, 6*time.Minute)
			r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 90*time.Minute)
			r.ExecuteWorkflow(ConnectionWorkflow, state)
			require.NoError(t, soon.err)
			assert.Equal(t, RefreshNowReply{Outcome: perennial.OutcomeThrottled, Code: "too_soon", Generation: 1, ExpiresAt: soon.reply.ExpiresAt, RetryAt: w.tooSoon}, soon.reply)
			require.NoError(t, later.err)
			assert.Equal(t, perennial.OutcomeRefreshed, later.reply.Outcome)
			assert.Zero(t, later.reply.RetryAt)
			assert.Equal(t, 2, w.triggers[perennial.TriggerRequest])
			assert.NotZero(t, w.triggers[perennial.TriggerTimer], "the due one is in time")
			assert.Empty(t, w.problems)
		}
	})
	t.Run("a wait in force is answered at once", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		retryAt := w.now.Add(3 * time.Hour)
		w.c.NextAttemptAt = retryAt
		r := w.newRun(t, Options{})
		got := ask(r, 5*time.Minute, RefreshNow{IfGeneration: 1})
		finish(t, r, 6*time.Minute)
		require.NoError(t, got.err)
		assert.Equal(t, perennial.OutcomeThrottled, got.reply.Outcome)
		assert.Equal(t, retryAt, got.reply.RetryAt)
		assert.Empty(t, w.refreshedAt)
	})
	t.Run("what was being read when it was asked is not the answer", func(t *testing.T) {
		w := newWorld(time.Hour, 100*day)
		w.status(perennial.StatusReconnectRequired)()
		r := w.newRun(t, Options{})
		got := unanswered()
		r.RegisterDelayedCallback(func() {
			w.seen = func() { // the row has been read, and the workflow does not know it yet
				w.c.Status = perennial.StatusActive
				r.UpdateWorkflow(UpdateRefreshNow, "meanwhile", got.callback(), RefreshNow{IfGeneration: 1})
			}
			r.SignalWorkflow(SignalNudge, nil)
		}, time.Minute)
		finish(t, r, 2*time.Minute)
		require.NoError(t, got.err)
		assert.EqualValues(t, 2, got.reply.Generation)
	})
	for name, beside := range map[string]bool{"brought": false, "found": true} {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		if beside { // another process refreshed it
			r.RegisterDelayedCallback(func() { w.set(func(c *perennial.Connection) { c.Generation = 2 }) }, time.Minute)
		}
		got := unanswered()
		w.during = func() { // generation 2 is in the row, and the workflow does not know it yet
			w.during = nil
			r.UpdateWorkflow(UpdateRefreshNow, "during", got.callback(), RefreshNow{IfGeneration: 2})
		}
		finish(t, r, 59*time.Minute)
		require.NoError(t, got.err)
		assert.Equal(t, perennial.OutcomeRefreshed, got.reply.Outcome)
		assert.EqualValues(t, 3, got.reply.Generation, "a refresh that %s the generation that nobody wants is not shared", name)
	}
	t.Run("many callers share one refresh", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		var all []*answer
		for i := range 8 {
			all = append(all, ask(r, 2*time.Minute+time.Duration(i), RefreshNow{}))
		}
		finish(t, r, 3*time.Minute)
		for _, got := range all {
			require.NoError(t, got.err)
			assert.EqualValues(t, 2, got.reply.Generation)
		}
		assert.Len(t, w.refreshedAt, 1)
	})
	for status, code := range map[perennial.Status]perennial.Code{
		perennial.StatusPaused:            perennial.CodePaused,
		perennial.StatusReconnectRequired: perennial.CodeReconnectRequired,
	} {
		t.Run("refused while "+string(status), func(t *testing.T) {
			w := newWorld(time.Hour, 100*day)
			w.status(status)()
			r := w.newRun(t, Options{})
			got := ask(r, 5*time.Minute, RefreshNow{})
			finish(t, r, 6*time.Minute)
			var refused *temporal.ApplicationError
			require.ErrorAs(t, got.err, &refused)
			assert.Equal(t, string(code), refused.Type())
		})
	}
}

func queryStatus(t testing.TB, env *testsuite.TestWorkflowEnvironment) StatusReply {
	t.Helper()
	v, err := env.QueryWorkflow(QueryStatus)
	require.NoError(t, err)
	var reply StatusReply
	require.NoError(t, v.Get(&reply))
	return reply
}
