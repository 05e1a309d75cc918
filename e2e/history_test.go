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
	"google.golang.org/protobuf/encoding/protojson"
)

func (s *stack) describe(id string) *workflowpb.WorkflowExecutionInfo {
	s.Helper()
	d, err := s.client.DescribeWorkflowExecution(context.Background(), workflows.ID(id), "")
	require.NoError(s, err)
	return d.WorkflowExecutionInfo
}

// histories reads every run of a connection's workflow, newest first.
func (s *stack) histories(id string) []*historypb.History {
	s.Helper()
	ctx := context.Background()
	var runs []string
	// The list is behind by a moment: the newest run is asked for by itself.
	newest := s.describe(id)
	s.eventually("the list shows the newest run", func() bool {
		runs = nil
		list, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: fmt.Sprintf("WorkflowId = %q", workflows.ID(id))})
		require.NoError(s, err)
		for _, e := range list.Executions {
			runs = append(runs, e.Execution.RunId)
		}
		return len(runs) > 0 && strings.Contains(strings.Join(runs, " "), newest.Execution.RunId)
	})
	var out []*historypb.History
	for _, run := range runs {
		out = append(out, s.history(workflows.ID(id), run))
	}
	return out
}

// history is one run of a workflow, the newest for an empty run.
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

// replayAll replays every run of a connection's workflow with this version, and
// keeps the histories where PERENNIAL_TEST_RECORD names a folder.
func (s *stack) replayAll(id, name string) {
	s.Helper()
	for i, h := range s.histories(id) {
		// Kept first: replaying writes upserted attributes into the history itself.
		if dir := os.Getenv("PERENNIAL_TEST_RECORD"); dir != "" {
			raw, err := protojson.Marshal(h)
			require.NoError(s, err)
			file := fmt.Sprintf("%s-%s-%d.json", name, strings.ToLower(filepath.Base(s.Name())), i)
			require.NoError(s, os.WriteFile(filepath.Join(dir, file), raw, 0o644))
		}
		replayer := worker.NewWorkflowReplayer()
		workflows.Register(replayer, workflows.Options{})
		assert.NoError(s, replayer.ReplayWorkflowHistory(nil, h), "run %d", i)
	}
}
