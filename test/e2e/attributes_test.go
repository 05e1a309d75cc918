package e2e

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/operatorservice/v1"
	"google.golang.org/protobuf/proto"
)

// TestSearchAttributeRemoved: an operator removes search attributes while connections run.
// A worker that has nothing cached goes on refreshing, a new connection can be started,
// and the attributes that are left follow the row. A history that had them replays
// without any of them.
func TestSearchAttributeRemoved(t *testing.T) {
	t.Parallel()
	server, err := startTemporal(t.TempDir(), 0, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	s := setup(t, setting{address: server.Address, class: perennial.ReplaySingleUse})
	stop := s.work()
	short := fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true}
	c := s.connect("a1", short)
	s.until(c.ID, "a refresh", generation(c.Generation+1))
	stop()
	remove := func(names ...string) {
		_, err := s.client.OperatorService().RemoveSearchAttributes(t.Context(), &operatorservice.RemoveSearchAttributesRequest{Namespace: "default", SearchAttributes: names})
		require.NoError(t, err)
		s.eventually("they are gone", func() bool {
			have, err := s.client.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: "default"})
			if err != nil {
				return false
			}
			for _, name := range names {
				if _, ok := have.CustomAttributes[name]; ok {
					return false
				}
			}
			return true
		})
	}
	remove("PerennialTenant", "PerennialApp")
	s.work() // with an empty cache
	s.until(c.ID, "two more refreshes", generation(s.get(c.ID).Generation+2))
	fresh := s.connect("a2", short)
	s.until(fresh.ID, "a refresh of a new one", generation(fresh.Generation+1))
	_, err = s.service.Pause(t.Context(), perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	s.eventually("the list shows the pause", func() bool {
		shown, ok := s.describe(c.ID).SearchAttributes.GetIndexedFields()[workflows.AttributeStatus.GetName()]
		return ok && string(shown.Data) == `"paused"`
	})
	remove("PerennialStatus", "PerennialProvider")
	ended := s.describe(c.ID).Execution.RunId
	require.NoError(t, s.client.SignalWorkflow(t.Context(), workflows.ID(c.ID), "", workflows.SignalContinueAsNew, nil))
	s.eventually("the run that has set an attribute continues as new without it", func() bool { return s.describe(c.ID).Execution.RunId != ended })
	_, err = s.service.Resume(t.Context(), perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	s.until(c.ID, "refreshes without any", generation(s.get(c.ID).Generation+2))

	for _, id := range []string{c.ID, fresh.ID} {
		for _, h := range s.histories(id) {
			for _, name := range workflows.AttributeNames() {
				without := proto.Clone(h).(*historypb.History)
				delete(without.Events[0].GetWorkflowExecutionStartedEventAttributes().SearchAttributes.GetIndexedFields(), name)
				assert.NoError(t, replay(workflows.ID(id), without), "without %s", name)
			}
		}
	}
}
