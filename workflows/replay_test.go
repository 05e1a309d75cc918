package workflows

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"
)

// The histories were recorded from a real server by the tests in package e2e, see
// `make histories`. The manifest names each file and its count of events: a file
// that is missing, cut or not named fails.
const historiesDir = "testdata/histories"

type recorded struct {
	file   string
	events int
}

func manifest(t *testing.T) []recorded {
	t.Helper()
	f, err := os.Open(filepath.Join(historiesDir, "MANIFEST"))
	require.NoError(t, err)
	defer f.Close()
	var out []recorded
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r recorded
		_, err := fmt.Sscanf(lines.Text(), "%s %d", &r.file, &r.events)
		require.NoError(t, err, lines.Text())
		out = append(out, r)
	}
	require.NotEmpty(t, out)
	return out
}

func load(t *testing.T, file string) *historypb.History {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(historiesDir, file))
	require.NoError(t, err)
	h := &historypb.History{}
	require.NoError(t, protojson.Unmarshal(raw, h))
	return h
}

func TestReplayReleasedHistories(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	for _, r := range manifest(t) {
		named[r.file] = true
		h := load(t, r.file)
		assert.Len(t, h.Events, r.events, r.file)
		replayer := worker.NewWorkflowReplayer()
		Register(replayer, Options{})
		assert.NoError(t, replayer.ReplayWorkflowHistory(nil, h), r.file)
	}
	files, err := filepath.Glob(filepath.Join(historiesDir, "*", "*.json"))
	require.NoError(t, err)
	for _, f := range files {
		rel, err := filepath.Rel(historiesDir, f)
		require.NoError(t, err)
		assert.True(t, named[rel], "%s is not in the manifest", rel)
	}
}

// TestReplayFindsAMutant replays workflows that begin with a timer that does not
// belong there. If this passes, the replay test shows nothing. Every workflow that
// was recorded has a mutant.
func TestReplayFindsAMutant(t *testing.T) {
	t.Parallel()
	mutants := map[string]any{
		ConnectionWorkflow: func(ctx workflow.Context, s *State) error {
			if err := workflow.Sleep(ctx, time.Second); err != nil {
				return err
			}
			return connectionWorkflow(Options{}.withDefaults())(ctx, s)
		},
		DeliverWorkflow: func(ctx workflow.Context, req activities.DeliveryRequest) (perennial.DeliveryState, error) {
			if err := workflow.Sleep(ctx, time.Second); err != nil {
				return "", err
			}
			return deliver(ctx, req)
		},
	}
	found := map[string]int{}
	for _, r := range manifest(t) {
		h := load(t, r.file)
		name := h.Events[0].GetWorkflowExecutionStartedEventAttributes().WorkflowType.Name
		require.Contains(t, mutants, name, r.file)
		replayer := worker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(mutants[name], workflow.RegisterOptions{Name: name})
		err := replayer.ReplayWorkflowHistory(nil, h)
		require.Error(t, err, r.file)
		assert.True(t, strings.Contains(err.Error(), "nondeterministic") || strings.Contains(err.Error(), "TMPRL1100"), "%s: %v", r.file, err)
		found[name]++
	}
	for name := range mutants {
		assert.NotZero(t, found[name], "no history of %s was recorded", name)
	}
}
