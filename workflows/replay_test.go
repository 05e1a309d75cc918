package workflows

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"
)

// The histories were recorded from a real server by the tests in package e2e, see `make
// histories`. The manifest names each file and its count of events. A file that is
// missing, truncated or not named fails the test.
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
		assert.NoError(t, replay(t, replayer, h), r.file)
	}
	files, err := filepath.Glob(filepath.Join(historiesDir, "*", "*.json"))
	require.NoError(t, err)
	for _, f := range files {
		rel, err := filepath.Rel(historiesDir, f)
		require.NoError(t, err)
		assert.True(t, named[rel], "%s is not in the manifest", rel)
	}
}

// replay replays a history as the execution that it is of: a connection's workflow looks
// at its own id.
func replay(t *testing.T, replayer worker.WorkflowReplayer, h *historypb.History) error {
	t.Helper()
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	id := started.WorkflowId
	if id == "" && started.WorkflowType.Name == ConnectionWorkflow { // an older server recorded it
		var s State
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(started.Input, &s))
		id = ID(s.ConnectionID)
	}
	return replayer.ReplayWorkflowHistoryWithOptions(nil, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: id, RunID: started.OriginalExecutionRunId}})
}

// late returns a workflow that begins with a timer which does not belong there.
func late[In, Out any](f func(workflow.Context, In) (Out, error)) any {
	return func(ctx workflow.Context, in In) (out Out, err error) {
		if err := workflow.Sleep(ctx, time.Second); err != nil {
			return out, err
		}
		return f(ctx, in)
	}
}

// noResult adapts a workflow for [late].
func noResult[In any](f func(workflow.Context, In) error) func(workflow.Context, In) (any, error) {
	return func(ctx workflow.Context, in In) (any, error) { return nil, f(ctx, in) }
}

// TestReplayFindsAMutant replays workflows that begin with a timer which does not
// belong there. If that were accepted, the replay test would show nothing. Every
// workflow that a worker registers was recorded, and has a mutant.
func TestReplayFindsAMutant(t *testing.T) {
	t.Parallel()
	o := Options{}.withDefaults()
	mutants := map[string]any{
		ConnectionWorkflow: late(noResult(connectionWorkflow(o))),
		PacerWorkflow:      late(noResult(pacer(o))),
		SweepWorkflow:      late(sweep),
		DeliverWorkflow:    late(deliver),
		ReleaseWorkflow:    late(release),
		AppWorkflow:        late(noResult(appTrouble)),
	}
	found := map[string]int{}
	for _, r := range manifest(t) {
		h := load(t, r.file)
		name := h.Events[0].GetWorkflowExecutionStartedEventAttributes().WorkflowType.Name
		require.Contains(t, mutants, name, r.file)
		replayer := worker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(mutants[name], workflow.RegisterOptions{Name: name})
		err := replay(t, replayer, h)
		require.Error(t, err, r.file)
		assert.True(t, strings.Contains(err.Error(), "nondeterministic") || strings.Contains(err.Error(), "TMPRL1100"), "%s: %v", r.file, err)
		found[name]++
	}
	var all names
	Register(&all, Options{})
	require.NotEmpty(t, all.names)
	for _, name := range all.names {
		assert.NotZero(t, found[name], "no history of %s was recorded: see make histories", name)
	}
}

// names records what is registered.
type names struct {
	worker.WorkflowRegistry
	names []string
}

func (n *names) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	n.names = append(n.names, o.Name)
}

// TestReplayByANewerStarter: a program that is newer than the workers started the run.
// The workers put version markers into a run whose input says that it needs none.
func TestReplayByANewerStarter(t *testing.T) {
	t.Parallel()
	marked := 0
	for _, r := range manifest(t) {
		h := load(t, r.file)
		started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
		if started.WorkflowType.Name != ConnectionWorkflow || versionMarkers(h) == 0 {
			continue
		}
		marked++
		var s State
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(started.Input, &s))
		s.Revision = 1
		input, err := converter.GetDefaultDataConverter().ToPayloads(s)
		require.NoError(t, err)
		started.Input = input
		replayer := worker.NewWorkflowReplayer()
		Register(replayer, Options{})
		assert.NoError(t, replay(t, replayer, h), r.file)
	}
	assert.NotZero(t, marked, "no recorded history has a version marker")
}

// TestReplayOfBoastfulStarts: a program of any later release started the run, and the
// workers of the recorded one took the steps.
func TestReplayOfBoastfulStarts(t *testing.T) {
	t.Parallel()
	replayed := 0
	for _, r := range manifest(t) {
		for _, revision := range []int{Knows, Knows + 1, math.MaxInt} {
			h := load(t, r.file)
			started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
			if started.WorkflowType.Name != ConnectionWorkflow || started.ContinuedExecutionRunId != "" {
				continue
			}
			var s State
			require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(started.Input, &s))
			if s.Revision < baseRevision {
				continue // a program of before the revisions
			}
			replayed++
			s.Revision = revision
			var err error
			started.Input, err = converter.GetDefaultDataConverter().ToPayloads(s)
			require.NoError(t, err)
			replayer := worker.NewWorkflowReplayer()
			Register(replayer, Options{})
			assert.NoError(t, replay(t, replayer, h), "%s started with revision %d", r.file, revision)
		}
	}
	assert.NotZero(t, replayed)
}

// TestRunsNeedNoVersionMarker: the newest histories take the steps of their revision
// from the first event on.
func TestRunsNeedNoVersionMarker(t *testing.T) {
	t.Parallel()
	all := manifest(t)
	newest, _, _ := strings.Cut(all[len(all)-1].file, "/")
	connections := 0
	for _, r := range all {
		if h := load(t, r.file); strings.HasPrefix(r.file, newest+"/") && h.Events[0].GetWorkflowExecutionStartedEventAttributes().WorkflowType.Name == ConnectionWorkflow {
			connections++
			assert.Zero(t, versionMarkers(h), r.file)
		}
	}
	assert.NotZero(t, connections)
}

func versionMarkers(h *historypb.History) (n int) {
	for _, e := range h.Events {
		if e.GetMarkerRecordedEventAttributes().GetMarkerName() == "Version" {
			n++
		}
	}
	return n
}
