package workflows

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// program is a worker of a release: it takes the steps up to a revision. The starter is
// another program, of any release.
type program int

const (
	older program = 1
	newer program = 2
)

// site is a real Temporal server with the workflow of one connection.
type site struct {
	*testing.T
	client client.Client
	queue  string
	world  *world
}

func newSite(t *testing.T, c client.Client) *site {
	w := newWorld(time.Hour, 0)
	w.c.ID = t.Name()
	return &site{t, c, t.Name(), w}
}

// start starts the workflow as a program does that believes in the revision. It goes with
// the search attributes, so that the first steps need no version marker.
func (s *site) start(revision int) {
	state := State{ConnectionID: s.world.c.ID, Revision: revision, Shown: activities.ShownOf(s.world.c)}
	_, err := s.client.ExecuteWorkflow(s.Context(), client.StartWorkflowOptions{ID: ID(s.world.c.ID), TaskQueue: s.queue}, ConnectionWorkflow, state)
	require.NoError(s, err)
}

// journal is a [activities.Journal] that is never asked.
type journal struct{}

func (journal) Unsaved(context.Context, perennial.Connection, store.SaveRequest) error { return nil }

// work does some things while a worker of the program runs, whose local activities say
// that all living workers know a revision.
func (s *site) work(p program, all int, do func()) {
	s.Helper()
	s.world.answers(gives(min(int(p), all)))
	w := worker.New(s.client, s.queue, worker.Options{})
	Register(w, Options{newestKnown: int(p)})
	acts := activities.New(s.world, s.world, s.world, journal{})
	acts.Attributes, acts.Revisions = s.world, s.world
	w.RegisterActivity(acts)
	require.NoError(s, w.Start())
	defer worker.PurgeStickyWorkflowCache() // all workers of this process share it
	defer w.Stop()
	do()
}

// ahead asks for a token newer than one that nobody gave out. Since revision 2 the
// workflow refuses that; before, it refreshed until there was one.
func (s *site) ahead() (refused bool) {
	s.Helper()
	err := s.refreshNow(1)
	if err != nil {
		assert.ErrorContains(s, err, "above")
	}
	return err != nil
}

// refreshNow asks for a token newer than the present generation and some more.
func (s *site) refreshNow(more int64) error {
	s.Helper()
	s.world.mu.Lock()
	req := RefreshNow{IfGeneration: s.world.c.Generation + more}
	s.world.mu.Unlock()
	u, err := s.client.UpdateWorkflow(s.Context(), client.UpdateWorkflowOptions{WorkflowID: ID(s.world.c.ID), UpdateName: UpdateRefreshNow,
		Args: []any{req}, WaitForStage: client.WorkflowUpdateStageCompleted})
	require.NoError(s, err)
	return u.Get(s.Context(), nil)
}

// again ends the run, and waits for the next one.
func (s *site) again() {
	s.Helper()
	before := s.run()
	require.NoError(s, s.client.SignalWorkflow(s.Context(), ID(s.world.c.ID), "", SignalContinueAsNew, nil))
	require.Eventually(s, func() bool { return s.run() != before }, time.Minute, 10*time.Millisecond)
}

func (s *site) run() string {
	s.Helper()
	d, err := s.client.DescribeWorkflowExecution(s.Context(), ID(s.world.c.ID), "")
	require.NoError(s, err)
	return d.WorkflowExecutionInfo.Execution.RunId
}

// takeOver replays the newest run as a worker of the program would that takes it over.
func (s *site) takeOver(p program) error {
	s.Helper()
	h := &historypb.History{}
	for events := s.client.GetWorkflowHistory(s.Context(), ID(s.world.c.ID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		e, err := events.Next()
		require.NoError(s, err)
		h.Events = append(h.Events, e)
	}
	replayer := worker.NewWorkflowReplayer()
	Register(replayer, Options{newestKnown: int(p)})
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	return replayer.ReplayWorkflowHistoryWithOptions(nil, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: ID(s.world.c.ID), RunID: started.OriginalExecutionRunId}})
}

// TestProgramsOfTwoReleases: whichever program starts a run, and whichever worker takes
// its first steps, a worker of the other release can take it over.
func TestProgramsOfTwoReleases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary, err := devserver.Path(t.Context(), os.Stderr)
	require.NoError(t, err)
	server, err := devserver.Start(t.Context(), devserver.Options{Binary: binary, Database: filepath.Join(dir, "temporal.db"), Attributes: AttributeNames()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	c, err := client.Dial(client.Options{HostPort: server.Address, Logger: quiet{}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for name, try := range map[string]func(s *site){
		"a newer starter, an older worker first": func(s *site) {
			s.start(2)
			s.work(older, 1, func() { assert.False(s, s.ahead()) })
			assert.NoError(s, s.takeOver(newer))
		},
		"a newer starter, a newer worker first": func(s *site) {
			s.start(3)
			s.work(newer, 1, func() { assert.NoError(s, s.refreshNow(0)) })
			assert.NoError(s, s.takeOver(older), "as an older one lives, it has the older steps")
			s.work(newer, 1, func() { assert.True(s, s.ahead()) })
			assert.NoError(s, s.takeOver(newer))
		},
		"an older starter, newer workers only": func(s *site) {
			s.start(1)
			s.work(newer, 2, func() { assert.True(s, s.ahead()) })
			assert.NoError(s, s.takeOver(newer))
		},
		"an older worker continues": func(s *site) {
			s.start(2)
			s.work(newer, 1, s.again)
			s.work(older, 1, func() { assert.False(s, s.ahead()) })
			assert.NoError(s, s.takeOver(newer))
		},
		"an older worker comes back": func(s *site) {
			s.start(1)
			s.work(newer, 2, func() { assert.True(s, s.ahead()) })
			s.work(newer, 1, s.again)
			s.work(older, 1, func() { assert.False(s, s.ahead()) })
			assert.NoError(s, s.takeOver(newer))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try(newSite(t, c))
		})
	}
}
