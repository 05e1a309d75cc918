package e2e

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
)

// TestRevisionComesFromTheWorkers: a start claims a revision that nobody has. Its run has
// that which all workers know, and so has the next one.
func TestRevisionComesFromTheWorkers(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	s.eventually("the worker is listed", func() bool {
		all, _, err := s.deps.Store.Processes(t.Context())
		require.NoError(t, err)
		return len(all) == 1 && all[0].Kind == store.KindWorker
	})
	grant := s.consent("a1", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	c, err := s.service.Connect(t.Context(), perennial.WorkerAccess(), grant)
	require.NoError(t, err)
	id := workflows.ID(c.ID)
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), id, "", "the test starts it"))
	boast := workflows.NewState(c.ID)
	boast.Revision, boast.Shown = workflows.Knows+7, activities.ShownOf(c)
	_, err = s.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: s.deps.Config.TaskQueue}, workflows.ConnectionWorkflow, boast)
	require.NoError(t, err)
	first := s.newest(id).Execution.RunId
	s.eventually("the run has read the row", func() bool { return firstView(t, s.history(id, first)) != nil })
	given := firstView(t, s.history(id, first)).Revision
	assert.Positive(t, given)
	assert.LessOrEqual(t, given, workflows.Knows)

	require.NoError(t, s.client.SignalWorkflow(t.Context(), id, "", workflows.SignalContinueAsNew, nil))
	s.eventually("the next run", func() bool { return s.newest(id).Execution.RunId != first })
	var next workflows.State
	started := s.history(id, "").Events[0].GetWorkflowExecutionStartedEventAttributes()
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(started.Input, &next))
	assert.Equal(t, given, next.Revision)
	s.replayOne(id, s.history(id, first), "the run of a boastful start")
}

// firstView returns the result of the first local activity of a run, or nil.
func firstView(t *testing.T, h *historypb.History) *activities.View {
	for _, e := range h.Events {
		if result := e.GetMarkerRecordedEventAttributes().GetDetails()["result"]; result != nil {
			var v activities.View
			require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(result, &v))
			return &v
		}
	}
	return nil
}
