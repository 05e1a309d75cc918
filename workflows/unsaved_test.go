package workflows

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// TestUnsavedTokensAreStoredFirst: while the workflow has the only copy of a token set,
// it stores that set before it acts on a message, cancellation or request.
func TestUnsavedTokensAreStoredFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.unsaved, w.persistFails = 1, 8 // the test environment gives up after 10
	r := w.newRun(t, Options{})
	due := w.c.NextRefreshAt.Sub(w.now)
	for i, signal := range Signals {
		r.RegisterDelayedCallback(func() { r.SignalWorkflow(signal, nil) }, due+time.Duration(i+1)*10*time.Second)
	}
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, due+90*time.Second)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	assert.Equal(t, 1, w.persisted)
	assert.Zero(t, w.persistFails)
	assert.EqualValues(t, 2, w.c.Generation)
	assert.Equal(t, map[perennial.Trigger]int{perennial.TriggerTimer: 1}, w.triggers, "the token was shown once")
}

// TestCancelledWithUnsavedTokens: a token set that arrives together with a cancellation
// is stored before the run ends, whatever the run is doing.
func TestCancelledWithUnsavedTokens(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(r *runSimulation, both func()){
		"at rest": func(r *runSimulation, both func()) { r.RegisterDelayedCallback(both, time.Minute) },
		"beside another message": func(r *runSimulation, both func()) {
			r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalNudge, nil); both() }, time.Minute)
		},
		"while the row is read for the first time": func(r *runSimulation, both func()) { r.w.seen = both },
		"while the row is read after a message": func(r *runSimulation, both func()) {
			r.RegisterDelayedCallback(func() { r.w.seen = both; r.SignalWorkflow(SignalNudge, nil) }, time.Minute)
		},
		"while a refresh fails in a local activity": func(r *runSimulation, both func()) { r.w.endsWithout, r.w.during = 1, both },
		"while it fails in the activity after it": func(r *runSimulation, both func()) {
			r.w.endsWithout, r.w.during = 2, func() { r.w.during = both }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(time.Hour, 0)
			r := w.newRun(t, Options{})
			unsaved := store.SaveRequest{ID: w.c.ID, Generation: w.c.Generation, NewGeneration: w.c.Generation + 1}
			begin(r, func() { r.SignalWorkflow(SignalUnsaved, unsaved); r.CancelWorkflow() })
			r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
			require.True(t, r.IsWorkflowCompleted())
			assert.True(t, temporal.IsCanceledError(r.GetWorkflowError()), r.GetWorkflowError())
			assert.Equal(t, 1, w.persisted)
		})
	}
}

// hostile has payloads of [SignalUnsaved] that are no token sets of con_1.
var hostile = map[string]any{
	"text":               "not a set",
	"a number":           7,
	"null":               nil,
	"bytes":              []byte{0xff, 0xfe},
	"an empty set":       map[string]any{},
	"a list":             []int{1},
	"fields of no type":  map[string]any{"ID": "con_1", "Generation": "one", "Metadata": map[string]string{"planted": "1"}},
	"another connection": store.SaveRequest{ID: "con_2", Generation: 1, NewGeneration: 2},
	"no valid JSON":      converter.NewRawValue(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte("{")}),
	"unknown encoding":   converter.NewRawValue(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("binary/encrypted")}, Data: []byte("x")}),
	"no encoding":        converter.NewRawValue(&commonpb.Payload{}),
}

// TestMessageThatIsNoTokenSet: such a message stops no timer and is counted, whatever
// the workflow is doing. A true set that follows it is stored unchanged.
func TestMessageThatIsNoTokenSet(t *testing.T) {
	t.Parallel()
	for name, payload := range hostile {
		for when, begin := range map[string]func(r *runSimulation, send func()){
			"at rest":      func(r *runSimulation, send func()) { r.RegisterDelayedCallback(send, time.Minute) },
			"in a refresh": func(r *runSimulation, send func()) { r.w.during = func() { r.w.during = nil; send() } },
			"while the activity backs off": func(r *runSimulation, send func()) {
				r.w.endsWithout, r.w.during = 1, func() { r.w.during = nil; send() }
			},
			"while unsaved tokens come": func(r *runSimulation, send func()) { r.w.unsaved, r.w.during = 1, func() { r.w.during = nil; send() } },
			"together with a nudge": func(r *runSimulation, send func()) {
				r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalNudge, payload); send() }, time.Minute)
			},
			"while the row is read at first": func(r *runSimulation, send func()) { r.w.seen = send },
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				w := newWorld(time.Hour, 0)
				r := w.newRun(t, Options{})
				begin(r, func() { r.SignalWorkflow(SignalUnsaved, payload) })
				var status StatusReply
				r.RegisterDelayedCallback(func() {
					got, err := r.QueryWorkflow(QueryStatus, "an argument that nobody asked for")
					require.NoError(t, err)
					require.NoError(t, got.Get(&status))
				}, 110*time.Minute)
				r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 170*time.Minute)
				r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
				require.True(t, r.IsWorkflowCompleted())
				assert.True(t, temporal.IsCanceledError(r.GetWorkflowError()), r.GetWorkflowError())
				assert.GreaterOrEqual(t, w.c.Generation, int64(3), "refreshed in time")
				assert.Empty(t, w.problems)
				assert.EqualValues(t, 1, status.Dropped)
			})
		}
	}
}

// TestTrueSetBehindAFalseOne: nothing of the false set is stored.
func TestTrueSetBehindAFalseOne(t *testing.T) {
	t.Parallel()
	for name, payload := range hostile {
		w := newWorld(time.Hour, 0)
		r := w.newRun(t, Options{})
		unsaved := store.SaveRequest{ID: "con_1", Generation: 1, NewGeneration: 2, SealedTokens: store.SealedTokens{Metadata: map[string]string{"true": "1"}}}
		r.RegisterDelayedCallback(func() {
			r.SignalWorkflow(SignalUnsaved, payload)
			r.SignalWorkflow(SignalUnsaved, unsaved)
		}, time.Minute)
		r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 2*time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
		require.True(t, r.IsWorkflowCompleted())
		assert.Equal(t, []store.SaveRequest{unsaved}, w.given, name)
	}
}

// TestSetThatCannotBeStored: the engine refuses the set. The timer goes on. A set that
// may be stored later is kept over continue-as-new and tried again before each refresh.
func TestSetThatCannotBeStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err     error
		aside   int
		dropped int64
	}{
		"never":   {err: perennial.Errorf(perennial.CodeInvalid, "generation 9 cannot follow"), dropped: 1},
		"not now": {err: fmt.Errorf("no keys: %w", refresh.ErrSetAside), aside: 1},
	} {
		w := newWorld(time.Hour, 0)
		w.refuses = c.err
		r := w.newRun(t, Options{RefreshesPerRun: 2})
		unsaved := store.SaveRequest{ID: "con_1", AttemptID: "a", Generation: 1, NewGeneration: 2}
		r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalUnsaved, unsaved) }, time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
		var next *workflow.ContinueAsNewError
		require.ErrorAs(t, r.GetWorkflowError(), &next, name)
		var carried State
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
		assert.Len(t, carried.SetAside, c.aside, name)
		assert.Equal(t, c.dropped, carried.Dropped, name)
		assert.EqualValues(t, 3, w.c.Generation, name)
		assert.Empty(t, w.problems, name)
		assert.Len(t, w.given, 1+2*c.aside, name)

		if c.aside == 0 {
			continue
		}
		w.refuses, w.now = nil, r.Now().UTC()
		carried.SetAside[0].Generation = w.c.Generation // as if nothing had been stored since
		r = w.newRun(t, Options{})
		var status StatusReply
		r.RegisterDelayedCallback(func() {
			got, err := r.QueryWorkflow(QueryStatus)
			require.NoError(t, err)
			require.NoError(t, got.Get(&status))
			r.CancelWorkflow()
		}, 80*time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, carried)
		assert.Equal(t, 1, w.persisted, "stored before the token is shown")
		assert.Zero(t, status.SetAside)
	}
}

// TestLargestSet: a set as large as the engine makes one is set aside, goes through
// continue-as-new and is stored. A second one has no room beside it.
func TestLargestSet(t *testing.T) {
	t.Parallel()
	large := func(generation int64) store.SaveRequest {
		return store.SaveRequest{ID: "con_1", AttemptID: fmt.Sprint(generation), Generation: generation - 1, NewGeneration: generation,
			SealedTokens: store.SealedTokens{AccessTokenSealed: make([]byte, 400<<10), RefreshTokenSealed: make([]byte, 300<<10)}}
	}
	w := newWorld(time.Hour, 0)
	w.refuses = fmt.Errorf("no keys: %w", refresh.ErrSetAside)
	r := w.newRun(t, Options{RefreshesPerRun: 1})
	for i, generation := range []int64{2, 3} {
		r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalUnsaved, large(generation)) }, time.Duration(i+1)*time.Minute)
	}
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	assert.Less(t, next.Input.Size(), 2<<20, "it fits into a message")
	var carried State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	require.Len(t, carried.SetAside, 1)
	assert.EqualValues(t, 1, carried.Dropped)

	w.refuses, w.now, w.given = nil, r.Now().UTC(), nil
	r = w.newRun(t, Options{})
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 80*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, carried)
	assert.Equal(t, []store.SaveRequest{large(2)}, w.given)
}

// TestRefusedSets: sets that are not the connection's are counted, and the first few
// are kept. They stop nothing and do not grow the state.
func TestRefusedSets(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.refuses = perennial.Errorf(perennial.CodeInvalid, "not received for this connection")
	r := w.newRun(t, Options{RefreshesPerRun: 1})
	sets := []store.SaveRequest{{ID: "con_1", AttemptID: "large", NewGeneration: 2, SealedTokens: store.SealedTokens{AccessTokenSealed: make([]byte, 100<<10)}}}
	for i := range 5 {
		sets = append(sets, store.SaveRequest{ID: "con_1", AttemptID: fmt.Sprint(i), NewGeneration: 2})
	}
	for i, set := range sets {
		r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalUnsaved, set) }, time.Duration(i+1)*time.Minute)
	}
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	var carried State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	assert.Equal(t, sets[1:4], carried.Refused)
	assert.EqualValues(t, 6, carried.Dropped)
	assert.Empty(t, carried.SetAside)
	assert.EqualValues(t, 2, w.c.Generation, "refreshed in time")
}
