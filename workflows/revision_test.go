package workflows

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// gives is a program's answer in a local activity.
type gives int

func (g gives) Revision(context.Context, string) int { return int(g) }

// markers runs a workflow that takes a step since revision 2, and returns how often it
// asked for a version marker of that step.
func markers(t *testing.T, state State, answer gives, prepare func(w *world, r *runSimulation)) (asked int) {
	t.Helper()
	w := newWorld(time.Hour, 0)
	w.revisions = answer
	state.Shown = activities.ShownOf(w.c) // so that only the pause shows something
	r := w.newRun(t, Options{})
	if prepare != nil {
		prepare(w, r)
	}
	r.OnGetVersion(mock.Anything, workflow.DefaultVersion, workflow.Version(1)).Return(func(name string, _, _ workflow.Version) workflow.Version {
		if name == changeOwnAttributes.name {
			asked++
		}
		return 1
	}).Maybe()
	r.RegisterDelayedCallback(w.status(perennial.StatusPaused), time.Minute)
	r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalPause, nil) }, time.Minute)
	r.RegisterDelayedCallback(r.CancelWorkflow, 2*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, state)
	return asked
}

// TestRevisionOfAFirstRun: a first run has the revision that its first local activity
// brings, and not that of its start. Without an answer it has the base revision. Later
// answers change nothing.
func TestRevisionOfAFirstRun(t *testing.T) {
	t.Parallel()
	for _, start := range []int{-1 << 40, 0, 1, 2, 3, 1 << 40} {
		state := NewState("con_1")
		state.Revision = start
		assert.Zero(t, markers(t, state, 2, nil), "start %d, all workers know 2", start)
		assert.Zero(t, markers(t, state, 3, nil), "start %d, all workers know more", start)
		assert.NotZero(t, markers(t, state, 1, nil), "start %d, a worker knows 1", start)
		assert.NotZero(t, markers(t, state, 0, nil), "start %d, nobody says", start)
		later := func(w *world, r *runSimulation) {
			r.RegisterDelayedCallback(func() { w.answers(2) }, time.Second)
		}
		assert.NotZero(t, markers(t, state, 0, later), "start %d, the second answer", start)
		assert.NotZero(t, markers(t, state, 1, later), "start %d, the second answer", start)
	}
	carried := State{ConnectionID: "con_1", Revision: 2, Generation: 1}
	assert.Zero(t, markers(t, carried, 1, nil), "a run that continues another keeps the revision that it was given")
}

// TestRevisionOfTheNextRun: a local activity of the last workflow task says it. Without an
// answer the next run has that of this one, within this program's own.
func TestRevisionOfTheNextRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ own, answer, want int }{
		"all workers know more":            {1, 2, 2},
		"a worker knows less":              {2, 1, 1},
		"nobody says":                      {1, 0, 1},
		"nobody says, a run of a newer":    {7, 0, revision},
		"nobody says, a run of an old one": {0, 0, baseRevision},
	} {
		for kind, end := range map[string]func(r *runSimulation){
			"signal": func(r *runSimulation) {
				r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalContinueAsNew, nil) }, time.Minute)
			},
			"refresh": func(*runSimulation) {},
		} {
			w := newWorld(time.Hour, 0)
			w.revisions = gives(c.answer)
			r := w.newRun(t, Options{RefreshesPerRun: 1})
			end(r)
			r.ExecuteWorkflow(ConnectionWorkflow, State{ConnectionID: "con_1", Revision: c.own, Generation: 1})
			var next *workflow.ContinueAsNewError
			require.ErrorAs(t, r.GetWorkflowError(), &next)
			var carried State
			require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
			assert.Equal(t, c.want, carried.Revision, "%s, %s", name, kind)
			require.NotNil(t, carried.View)
			assert.Zero(t, carried.View.Revision, "an answer is for one run")
		}
	}
}

// TestRevisions: the list of processes is read once in a while, for each task queue. A
// program never gives more than it may, and without an answer it gives none.
func TestRevisions(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	known := map[string]int{"new": revision + 5, "old": 0}
	r := NewRevisions(func(ctx context.Context, queue string) (int, error) {
		_, bounded := ctx.Deadline()
		assert.True(t, bounded)
		asked[queue]++
		if n, ok := known[queue]; ok {
			return n, nil
		}
		return revision, errors.New("the database is away")
	})
	for range 3 {
		assert.Equal(t, revision, r.Revision(t.Context(), "new"))
		assert.Zero(t, r.Revision(t.Context(), "old"))
		assert.Zero(t, r.Revision(t.Context(), "away"))
	}
	assert.Equal(t, map[string]int{"new": 1, "old": 1, "away": 1}, asked)
	r.last["new"] = givenRevision{revision, time.Now()}
	known["new"] = 0
	assert.Zero(t, r.Revision(t.Context(), "new"), "asked anew")
}

// TestOneAsksForTheRevision: while the database is slow, one workflow task waits, and the
// others use the last answer.
func TestOneAsksForTheRevision(t *testing.T) {
	t.Parallel()
	begun, slow := make(chan struct{}), make(chan int)
	r := NewRevisions(func(context.Context, string) (int, error) { close(begun); return <-slow, nil })
	r.last["q"] = givenRevision{revision, time.Now()}
	first := make(chan int)
	go func() { first <- r.Revision(t.Context(), "q") }()
	<-begun
	assert.Equal(t, revision, r.Revision(t.Context(), "q"))
	slow <- 0
	assert.Zero(t, <-first)
	assert.Zero(t, r.Revision(t.Context(), "q"))
}
