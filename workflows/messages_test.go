package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

// TestEveryMessageInEveryStatus sends each signal in each status, without changing the
// row. The workflow may only read the row, and must be as before.
func TestEveryMessageInEveryStatus(t *testing.T) {
	t.Parallel()
	for _, status := range perennial.Statuses {
		for _, signal := range Signals {
			t.Run(fmt.Sprintf("%s while %s", signal, status), func(t *testing.T) {
				t.Parallel()
				w := newWorld(time.Hour, 100*day)
				w.status(status)()
				r := w.newRun(t, Options{})
				r.RegisterDelayedCallback(func() { r.SignalWorkflow(signal, nil) }, time.Minute)
				r.RegisterDelayedCallback(func() {
					if status == perennial.StatusDisconnected {
						t.Error("a disconnected connection's workflow still runs")
					}
					assert.Equal(t, status, queryStatus(t, r.TestWorkflowEnvironment).Status)
					r.CancelWorkflow()
				}, 10*time.Minute)
				r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
				require.True(t, r.IsWorkflowCompleted())
				if status == perennial.StatusDisconnected {
					require.NoError(t, r.GetWorkflowError(), "it completes")
				}
				assert.Empty(t, w.refreshedAt, "a signal refreshes nothing")
			})
		}
	}
}

// TestWhoIsCalledInGoesAtOnce: a released connection whose turn has come is refreshed
// in the workflow task of its nudge, without another wait.
func TestWhoIsCalledInGoesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.heldFor = 20 * time.Minute
	held := w.c.NextRefreshAt.Sub(w.now)
	r := w.newRun(t, Options{})
	nudge := func(change func(*perennial.Connection)) func() {
		return func() { w.set(change); r.SignalWorkflow(SignalNudge, nil) }
	}
	turn := func(c *perennial.Connection) { c.NextAttemptAt = r.Now().UTC() }
	r.RegisterDelayedCallback(nudge(func(*perennial.Connection) {}), held+time.Minute) // its turn has not come
	r.RegisterDelayedCallback(nudge(turn), held+2*time.Minute)                         // its turn has come, and it must wait again
	r.RegisterDelayedCallback(func() {
		assert.Len(t, w.asked, 2, "at the due time, and when it was called")
		w.set(func(*perennial.Connection) { w.heldFor = 0 })
		nudge(turn)()
	}, held+5*time.Minute)
	called := w.now.Add(held + 5*time.Minute)
	r.RegisterDelayedCallback(r.CancelWorkflow, held+6*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	assert.Equal(t, []time.Time{called}, w.refreshedAt)
	assert.Len(t, w.asked, 3)
}

// TestSignalsFollowTheRow changes the row before each signal, as their senders do.
func TestSignalsFollowTheRow(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 100*day)
	r := w.newRun(t, Options{})
	step := func(at time.Duration, signal string, status perennial.Status) {
		r.RegisterDelayedCallback(func() { w.status(status)(); r.SignalWorkflow(signal, nil) }, at)
		r.RegisterDelayedCallback(func() {
			assert.Equal(t, status, queryStatus(t, r.TestWorkflowEnvironment).Status, signal)
		}, at+time.Second)
	}
	step(time.Minute, SignalPause, perennial.StatusPaused)
	step(5*time.Hour, SignalResume, perennial.StatusActive)
	step(6*time.Hour, SignalNudge, perennial.StatusReconnectRequired)
	step(48*time.Hour, SignalReconnected, perennial.StatusActive)
	r.RegisterDelayedCallback(func() { w.status(perennial.StatusDisconnected)(); r.SignalWorkflow(SignalDisconnect, nil) }, 50*time.Hour)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	require.NoError(t, r.GetWorkflowError())
	for _, at := range w.refreshedAt {
		h := at.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		assert.False(t, h > time.Minute && h < 5*time.Hour, "refreshed while paused, at %s", h)
		assert.False(t, h > 6*time.Hour && h < 48*time.Hour, "refreshed while reconnect is required, at %s", h)
	}
	assert.GreaterOrEqual(t, len(w.refreshedAt), 3)
}

func TestRowGoneCompletes(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.gone, w.ended = true, store.TombstoneDisconnected
	r := w.newRun(t, Options{})
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	require.NoError(t, r.GetWorkflowError())
}

// TestMessageAtContinueAsNew sends a disconnect in the workflow task in which the run
// continues as new. It must not be lost.
func TestMessageAtContinueAsNew(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{RefreshesPerRun: 1})
	w.during = func() {
		w.c.Status = perennial.StatusDisconnected
		r.SignalWorkflow(SignalDisconnect, nil)
	}
	first := NewState("con_1")
	first.Shown = activities.ShownOf(w.c) // as it is started: nothing is set, and the row is not read once more
	r.ExecuteWorkflow(ConnectionWorkflow, first)
	require.True(t, r.IsWorkflowCompleted())
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	var state State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &state))
	require.Nil(t, state.View, "what was known is out of date")
	w.now, w.during = r.Now(), nil
	r = w.newRun(t, Options{RefreshesPerRun: 1})
	r.ExecuteWorkflow(ConnectionWorkflow, state)
	require.True(t, r.IsWorkflowCompleted())
	require.NoError(t, r.GetWorkflowError())
	assert.Len(t, w.refreshedAt, 1)
}

// TestViewIsCarried: a run that ends in its steady state passes on what it knows, so
// that the next run sleeps at once.
func TestViewIsCarried(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{RefreshesPerRun: 1})
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	var state State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &state))
	w.now = r.Now()
	w.gets = 0
	r = w.newRun(t, Options{RefreshesPerRun: 1})
	r.ExecuteWorkflow(ConnectionWorkflow, state)
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	assert.Len(t, w.refreshedAt, 2)
	assert.Empty(t, w.problems)
	assert.Zero(t, w.gets, "the row was not read")
}

// TestStateIsCarriedWhole fills every field of State and takes it through
// continue-as-new. A field without a JSON form fails here.
func TestStateIsCarriedWhole(t *testing.T) {
	t.Parallel()
	full := State{ConnectionID: "con_1", Revision: 1, Refreshes: 7, Generation: 9, View: &activities.View{Status: perennial.StatusActive, Wait: time.Hour}, Next: time.Unix(1, 0).UTC(), Digested: time.Unix(2, 0).UTC(),
		SetAside: []store.SaveRequest{{ID: "con_1", NewGeneration: 10, SealedTokens: store.SealedTokens{AccessTokenSealed: []byte{1}}}}, Dropped: 3, Looks: 2,
		Shown:   map[string]string{"PerennialStatus": "active", "PerennialProvider": "quickbooks", "PerennialApp": "app", "PerennialTenant": "t1"},
		Refused: []store.SaveRequest{{ID: "con_1", AttemptID: "foreign"}}}
	for i := range recentKept {
		full.Recent = append(full.Recent, RecentRefresh{At: time.Unix(int64(i+1), 0).UTC(), Outcome: perennial.OutcomeRefreshed, Code: "c", Generation: int64(i + 1), Reported: perennial.TriggerRevoked})
	}
	for i := range reflect.TypeFor[State]().NumField() {
		require.False(t, reflect.ValueOf(full).Field(i).IsZero(), "fill %s here", reflect.TypeFor[State]().Field(i).Name)
	}
	for i := range reflect.TypeFor[RecentRefresh]().NumField() {
		require.False(t, reflect.ValueOf(full.Recent[0]).Field(i).IsZero(), "fill %s here", reflect.TypeFor[RecentRefresh]().Field(i).Name)
	}
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{MessagesPerRun: 1})
	r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalNudge, nil) }, time.Second)
	r.ExecuteWorkflow(ConnectionWorkflow, full)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	var carried State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	require.NotNil(t, carried.View)
	require.False(t, carried.Next.IsZero())
	full.View, full.Next = carried.View, carried.Next // these belong to this run
	full.Looks = 0                                    // this run found the row
	assert.Equal(t, full, carried)
}

// TestUpdatesEndARun: a run that has answered its number of updates continues as new at
// once, and not at its next timer: the server refuses a run's 2,001st update. Every caller
// is answered, also those of a run of an older program.
func TestUpdatesEndARun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		revision int
		refused  bool // by a generation above the row's
	}{
		"of this revision": {revision: 2}, "of an older one": {revision: 1}, "with errors": {revision: 2, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(time.Hour, 0)
			r := w.newRun(t, Options{MessagesPerRun: 3})
			state := NewState("con_1")
			state.Revision = c.revision
			began, ended := w.now, time.Time{}
			answers := make([]*answer, 3)
			for n := range answers {
				answers[n] = unanswered()
				req := RefreshNow{}
				if c.refused {
					req.IfGeneration = 100
				}
				r.RegisterDelayedCallback(func() { r.UpdateWorkflow(UpdateRefreshNow, fmt.Sprint(n), answers[n].callback(), req) }, time.Duration(n+1)*time.Second)
			}
			r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 10*time.Minute)
			r.ExecuteWorkflow(ConnectionWorkflow, state)
			ended = w.now
			var next *workflow.ContinueAsNewError
			require.ErrorAs(t, r.GetWorkflowError(), &next)
			assert.Less(t, ended.Sub(began), time.Minute, "long before the timer")
			for _, got := range answers {
				if c.refused {
					assert.ErrorContains(t, got.err, "above")
					continue
				}
				require.NoError(t, got.err)
				assert.Equal(t, perennial.OutcomeAlreadyFresh, got.reply.Outcome)
			}
			var carried State
			require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
			assert.NotNil(t, carried.View, "the next run need not read the row")
		})
	}
}

// TestRowGoesBackwards: the database is restored while the workflow sleeps, and a
// message makes it read the row. It still asks for the newest generation that it knows,
// so that the engine sees that the row is behind.
func TestRowGoesBackwards(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.c.Generation = 12
	r := w.newRun(t, Options{})
	r.RegisterDelayedCallback(func() {
		w.set(func(c *perennial.Connection) { c.Generation = 5 })
		r.SignalWorkflow(SignalNudge, nil)
	}, time.Minute)
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 90*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.NotEmpty(t, w.asked)
	assert.EqualValues(t, 12, w.asked[0])
}

// TestGenerationThatNobodyGaveOut: the row mends a state whose generation no restore
// explains.
func TestGenerationThatNobodyGaveOut(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{5 + perennial.MaxGenerationGap + 1, 1 << 62, math.MaxInt64} {
		w := newWorld(time.Hour, 0)
		w.c.Generation = 5
		r := w.newRun(t, Options{})
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 90*time.Minute)
		state := NewState("con_1")
		state.Generation = n
		r.ExecuteWorkflow(ConnectionWorkflow, state)
		require.NotEmpty(t, w.asked)
		assert.EqualValues(t, 5, w.asked[0], n)
	}
}

// TestRefreshEndsWithoutAResult: neither the local activity nor the activity returns a
// result. A message cancelled it while its worker died, so only its timeout comes back.
// The row is read at once, and the next attempt does not wait for a minute.
func TestRefreshEndsWithoutAResult(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.endsWithout = 2
	r := w.newRun(t, Options{})
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 70*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.Len(t, w.refreshedAt, 1)
	assert.LessOrEqual(t, w.refreshedAt[0].Sub(w.endedAt), 5*time.Second)
}

// answer is the reply to a request for a refresh.
type answer struct {
	reply RefreshNowReply
	err   error
}

func unanswered() *answer { return &answer{err: errors.New("no answer")} }

func (got *answer) callback() *testsuite.TestUpdateCallback {
	return &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { got.err = err },
		OnComplete: func(v any, err error) {
			got.err = err
			got.reply, _ = v.(RefreshNowReply)
		},
	}
}

// TestARunThatEndsStillAnswers: a waiting caller keeps a run from ending, so the run
// must not wait until the caller leaves.
func TestARunThatEndsStillAnswers(t *testing.T) {
	t.Parallel()
	t.Run("when it is full", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{RefreshesPerRun: 1})
		got := unanswered()
		w.during = func() { // generation 2 is in the row, and the workflow does not know it yet
			w.during = nil
			r.UpdateWorkflow(UpdateRefreshNow, "during", got.callback(), RefreshNow{IfGeneration: 2})
		}
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 59*time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
		require.NoError(t, got.err)
		assert.EqualValues(t, 3, got.reply.Generation)
		var next *workflow.ContinueAsNewError
		require.ErrorAs(t, r.GetWorkflowError(), &next)
	})
	t.Run("when the connection was disconnected, and is connected again", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		got := unanswered()
		r.RegisterDelayedCallback(func() {
			w.seen = func() {
				w.c.Status = perennial.StatusDisconnected
				r.SignalWorkflow(SignalDisconnect, nil)
			}
			r.UpdateWorkflow(UpdateRefreshNow, "before", got.callback(), RefreshNow{IfGeneration: 1})
		}, time.Minute)
		r.RegisterDelayedCallback(func() {
			w.status(perennial.StatusActive)()
			r.SignalWorkflow(SignalReconnected, nil)
		}, time.Minute+time.Second)
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 3*time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
		require.NoError(t, r.GetWorkflowError(), "it ends, and the reconnect starts it anew")
		var refused *temporal.ApplicationError
		require.ErrorAs(t, got.err, &refused)
		assert.Equal(t, string(perennial.CodeDisconnected), refused.Type())
		assert.Less(t, w.gets, 10, "nothing is read in a loop")
	})
	t.Run("when the connection is connected again just then", func(t *testing.T) {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		got := unanswered()
		r.RegisterDelayedCallback(func() {
			w.seen = func() {
				w.c.Status = perennial.StatusDisconnected
				r.SignalWorkflow(SignalDisconnect, nil)
				w.seen = func() { // the workflow has read it
					w.c.Status = perennial.StatusActive
					r.SignalWorkflow(SignalReconnected, nil)
				}
			}
			r.UpdateWorkflow(UpdateRefreshNow, "before", got.callback(), RefreshNow{IfGeneration: 1})
		}, time.Minute)
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 3*time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
		require.NoError(t, got.err)
		assert.EqualValues(t, 2, got.reply.Generation)
		assert.Less(t, w.gets, 10, "nothing is read in a loop")
	})
}

// ask sends a request for a refresh after a while.
func ask(r *runSimulation, after time.Duration, req RefreshNow) *answer {
	got := unanswered()
	r.RegisterDelayedCallback(func() { r.UpdateWorkflow(UpdateRefreshNow, fmt.Sprint(after), got.callback(), req) }, after)
	return got
}

func TestMessagesCarryNoSecretField(t *testing.T) {
	t.Parallel()
	out, err := json.Marshal(struct {
		A State
		B RefreshNow
		C RefreshNowReply
		D StatusReply
	}{})
	require.NoError(t, err)
	assert.NotContains(t, string(out), "token")
	assert.NotContains(t, string(out), "secret")
}
