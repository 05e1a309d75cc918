package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// describe describes the newest run of a connection's workflow.
func (s *stack) describe(id string) *workflowpb.WorkflowExecutionInfo {
	s.Helper()
	return s.newest(workflows.ID(id))
}

func (s *stack) newest(workflow string) *workflowpb.WorkflowExecutionInfo {
	s.Helper()
	d, err := s.client.DescribeWorkflowExecution(context.Background(), workflow, "")
	require.NoError(s, err)
	return d.WorkflowExecutionInfo
}

// histories reads every run of a connection's workflow, newest first.
func (s *stack) histories(id string) []*historypb.History {
	s.Helper()
	return s.runs(workflows.ID(id))
}

// runs reads every run of a workflow, newest first.
func (s *stack) runs(workflow string) []*historypb.History {
	s.Helper()
	ctx := context.Background()
	var runs []string
	// The list is a moment behind, so the newest run is read separately.
	newest := s.newest(workflow)
	s.eventually("the list shows the newest run", func() bool {
		runs = nil
		list, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = %q", workflow)})
		require.NoError(s, err)
		for _, e := range list.Executions {
			runs = append(runs, e.Execution.RunId)
		}
		return len(runs) > 0 && strings.Contains(strings.Join(runs, " "), newest.Execution.RunId)
	})
	var out []*historypb.History
	for _, run := range runs {
		out = append(out, s.history(workflow, run))
	}
	return out
}

// history returns one run of a workflow; the newest if run is empty.
func (s *stack) history(workflow, run string) *historypb.History {
	s.Helper()
	h := &historypb.History{}
	events := s.client.GetWorkflowHistory(context.Background(), workflow, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		require.NoError(s, err)
		h.Events = append(h.Events, e)
	}
	return h
}

// replayAll replays every run of a connection's workflow with this version.
func (s *stack) replayAll(id, name string) {
	s.Helper()
	s.replayRuns(workflows.ID(id), name)
}

// replayRuns replays every run of a workflow with this version, also without each search
// attribute that it was started with: somebody may remove it. It saves the histories
// if PERENNIAL_TEST_RECORD names a folder.
func (s *stack) replayRuns(id, name string) {
	s.Helper()
	if _, of, ok := strings.Cut(s.Name(), "/"); ok {
		name += "-" + strings.ToLower(of)
	}
	for i, h := range s.runs(id) {
		if dir := os.Getenv("PERENNIAL_TEST_RECORD"); dir != "" {
			raw, err := protojson.Marshal(h)
			require.NoError(s, err)
			require.NoError(s, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.json", name, i)), raw, 0o644))
		}
		if h.Events[len(h.Events)-1].EventType == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED {
			continue // nobody replays it, and the replayer takes none that ends within its first task
		}
		s.replayOne(id, h, fmt.Sprintf("run %d", i))
	}
}

// replayOne replays one run as it is, and with each search attribute removed.
func (s *stack) replayOne(id string, h *historypb.History, what string) {
	s.Helper()
	for _, name := range append(workflows.AttributeNames(), "") {
		without := proto.Clone(h).(*historypb.History) // replaying writes upserted attributes into the history
		delete(without.Events[0].GetWorkflowExecutionStartedEventAttributes().SearchAttributes.GetIndexedFields(), name)
		assert.NoError(s, replay(id, without), "%s, without %q", what, name)
	}
}

// replay replays a run as the execution that it was: a connection's workflow looks at its
// own id.
func replay(id string, h *historypb.History) error {
	// On a busy machine a replay of megabytes may take longer than the second that the
	// detection allows.
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DisableDeadlockDetection: true})
	if err != nil {
		return err
	}
	workflows.Register(replayer, workflows.Options{})
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	return replayer.ReplayWorkflowHistoryWithOptions(nil, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: id, RunID: started.OriginalExecutionRunId}})
}
