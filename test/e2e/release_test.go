package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
)

// TestRelease: when a circuit closes, the waiting workflows are woken. Without that
// they sleep for at least half a minute, and there is no sweep.
func TestRelease(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	var waiting []perennial.Connection
	for i := range 6 {
		waiting = append(waiting, s.connect(fmt.Sprintf("waits %d", i), fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true}))
	}
	note := func(c perennial.Connection, o perennial.Outcome, code string) {
		require.NoError(t, s.deps.Store.NoteReply(t.Context(), store.NoteRequest{Connection: c, Outcome: o, Code: code, Interval: s.deps.Config.Timing.ProbeInterval}))
	}
	for _, c := range waiting { // the state that other workers leave
		note(c, perennial.OutcomeUnknown, "http_503")
	}
	s.work()
	for _, c := range waiting {
		s.until(c.ID, "held", func(c perennial.Connection) bool { return !c.QueuedAt.IsZero() })
		s.eventually(c.AccountID+" sleeps", func() bool { return s.asleep(c.ID) })
	}
	note(waiting[0], perennial.OutcomeRefreshed, "")
	for _, c := range waiting {
		s.until(c.ID, "let go", generation(2))
		s.eventually(c.AccountID+" was woken", func() bool { return s.signalled(c.ID, workflows.SignalNudge) })
	}
	s.replayAll(waiting[0].ID, "called-in")
	id := workflows.AppID(s.deps.Config.TaskQueue, "app")
	s.eventually("the app is well", func() bool { return strings.Contains(s.details(id), "well since") })
	require.NoError(t, s.client.CancelWorkflow(t.Context(), id, ""))
	s.eventually("its workflow has ended", func() bool { return s.newest(id).Status == enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED })
	s.replayRuns(id, "app")
}

// details returns a workflow's own page in the Temporal UI.
func (s *stack) details(id string) string {
	s.Helper()
	v, err := s.client.QueryWorkflow(s.Context(), id, "", "__temporal_workflow_metadata")
	if err != nil {
		return "" // it has not run yet
	}
	var m sdkpb.WorkflowMetadata
	require.NoError(s, v.Get(&m))
	return m.CurrentDetails
}

// asleep reports whether a waiting connection's workflow has set its timer.
func (s *stack) asleep(id string) bool {
	events := s.history(workflows.ID(id), "").Events
	return events[len(events)-1].EventType == enumspb.EVENT_TYPE_TIMER_STARTED
}

// signalled reports whether a connection's workflow received a signal of that name.
func (s *stack) signalled(id, name string) bool {
	for _, h := range s.histories(id) {
		for _, e := range h.Events {
			if e.GetWorkflowExecutionSignaledEventAttributes().GetSignalName() == name {
				return true
			}
		}
	}
	return false
}
