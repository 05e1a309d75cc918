package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
)

// TestMoveOfTheTaskQueue: a worker with another task_queue takes nothing and says so.
// `perennial move` takes the running workflows over to the new queue, with their chain of
// runs, without a terminate and without a refresh beside.
func TestMoveOfTheTaskQueue(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.bind()
	_, err := workflows.SetupSweep(t.Context(), s.client, s.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	idle := s.connect("idle", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	busy := s.connect("busy", fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true})
	stop := s.work()
	s.until(busy.ID, "refreshed", generation(2))
	s.sleeping(idle.ID)
	first := s.description(idle.ID)
	require.Equal(t, s.deps.Config.TaskQueue, first.ExecutionConfig.TaskQueue.Name)

	moved := s.over(s.url, s.deps.Config.TaskQueue+"-new")
	require.Equal(t, wiring.Elsewhere, moved.state())
	from, progress := s.deps.Config.TaskQueue, func(int) {}
	require.ErrorContains(t, moved.binding().Move(t.Context(), from, progress), "perennial setup")
	_, err = workflows.SetupSweep(t.Context(), moved.client, moved.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	moved.endSweep()
	require.ErrorContains(t, moved.binding().Move(t.Context(), "never-heard-of", progress), "perennial binding")
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(moved.binding().Move(t.Context(), moved.deps.Config.TaskQueue, progress)))
	require.Equal(t, wiring.Elsewhere, moved.state(), "a refusal changes nothing")
	moved.work()
	status, body := moved.healthy()()
	assert.Equal(t, 503, status)
	assert.Contains(t, body, "perennial move --from "+from)

	var seen []int
	require.NoError(t, moved.binding().Move(t.Context(), from, func(left int) { seen = append(seen, left) }))
	assert.Equal(t, 2, seen[0])
	assert.Zero(t, seen[len(seen)-1])
	stop() // nothing needs the old workers any more
	for _, c := range []perennial.Connection{idle, busy} {
		d := s.description(c.ID)
		assert.Equal(t, moved.deps.Config.TaskQueue, d.ExecutionConfig.TaskQueue.Name, c.AccountID)
		assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, d.WorkflowExecutionInfo.Status)
	}
	assert.Equal(t, first.WorkflowExecutionInfo.FirstRunId, s.description(idle.ID).WorkflowExecutionInfo.FirstRunId, "the same chain of runs")
	reply, err := connect.Refresh(t.Context(), moved.updates, idle, workflows.RefreshNow{IfGeneration: idle.Generation})
	require.NoError(t, err)
	assert.Equal(t, idle.Generation+1, reply.Generation)
	moved.until(busy.ID, "refreshed on the new queue", generation(moved.get(busy.ID).Generation+1))
	assert.Equal(t, 1, s.oracle("idle").Refreshes, "one token, one presentation")
	assert.Equal(t, perennial.HealthHealthy, moved.get(busy.ID).Health)
	_, err = s.client.ScheduleClient().GetHandle(t.Context(), workflows.SweepID(from)).Describe(t.Context())
	var missing *serviceerror.NotFound
	assert.ErrorAs(t, err, &missing, "the old queue has no sweep")
}

// another returns the same installation at another task queue that is set up, and works
// there once it has moved.
func (s *stack) another() *stack {
	s.Helper()
	moved := s.over(s.url, s.deps.Config.TaskQueue+"-new")
	_, err := workflows.SetupSweep(s.Context(), moved.client, moved.deps.Config.TaskQueue, shortSweep)
	require.NoError(s, err)
	moved.endSweep()
	moved.work()
	return moved
}

// TestMovePooled: with pooled pace the pacers of the new queue take over.
func TestMovePooled(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse, extra: ", pace: pooled, pacers: 2"})
	s.bind()
	_, err := workflows.SetupSweep(t.Context(), s.client, s.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	stop := s.work()
	var all []perennial.Connection
	for i := range 6 {
		all = append(all, s.connect(fmt.Sprintf("pooled %d", i), fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true}))
	}
	for _, c := range all {
		s.until(c.ID, "refreshed on the old queue", generation(2))
	}
	moved := s.another()
	require.NoError(t, moved.binding().Move(t.Context(), s.deps.Config.TaskQueue, func(int) {}))
	stop()
	for _, c := range all {
		moved.until(c.ID, "refreshed twice on the new queue", generation(moved.get(c.ID).Generation+2))
		assert.Equal(t, moved.deps.Config.TaskQueue, s.description(c.ID).ExecutionConfig.TaskQueue.Name)
		assert.Zero(t, s.oracle(c.AccountID).ConsumedPresentations)
		assert.Equal(t, 1, s.oracle(c.AccountID).MostInFlight)
	}
	for n := range 2 {
		status := s.newest(workflows.PacerID(s.deps.Config.TaskQueue, "app", n, 2)).Status
		assert.NotEqual(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, status, "only the old workers can end it, and they are gone")
	}
}

// TestMoveWithASet: a workflow whose token set cannot be stored does not move before it is
// stored, and nothing is presented twice.
func TestMoveWithASet(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.bind()
	stop := s.work()
	moved := s.another()
	c := s.connect("held", fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true, LatencyAfterMS: 1000})
	db, err := sql.Open("pgx", s.url)
	require.NoError(t, err)
	defer db.Close()
	s.eventually("the provider rotated the token", func() bool { return s.oracle("held").Refreshes == 1 })
	_, err = db.Exec("ALTER TABLE connections RENAME TO away")
	require.NoError(t, err)
	s.eventually("it cannot be stored", func() bool {
		for _, a := range s.description(c.ID).PendingActivities {
			if a.Attempt > 1 {
				return true
			}
		}
		return false
	})
	waits, ended := make(chan int, 100), make(chan error, 1)
	go func() {
		ended <- moved.binding().Move(t.Context(), s.deps.Config.TaskQueue, func(left int) { waits <- left })
	}()
	require.Equal(t, 1, <-waits, "it is not idle")
	_, err = db.Exec("ALTER TABLE away RENAME TO connections")
	require.NoError(t, err)
	require.NoError(t, <-ended)
	s.eventually("the old worker's spool is empty", func() bool {
		kept, err := filepath.Glob(filepath.Join(s.dir, "spool", "*.sealed"))
		return err == nil && len(kept) == 0
	})
	stop()
	moved.until(c.ID, "the set stored, and refreshed again", generation(3))
	assert.Zero(t, s.oracle("held").ConsumedPresentations)
	assert.Equal(t, perennial.StatusActive, moved.get(c.ID).Status)
}

// TestMoveOfACopy: a copy of the database cannot take the original's workflows, although
// it has the original's id.
func TestMoveOfACopy(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.bind()
	c := s.connect("ours", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	s.work()
	s.sleeping(c.ID)
	s.eventually("it has reported", func() bool {
		all, _, err := s.deps.Store.Processes(t.Context())
		return err == nil && len(all) == 1
	})
	staging := s.copied(s.deps.Config.TaskQueue + "-staging")
	_, err := workflows.SetupSweep(t.Context(), staging.client, staging.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	staging.endSweep()
	staging.work()
	err = staging.binding().Move(t.Context(), s.deps.Config.TaskQueue, func(int) {})
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
	require.ErrorContains(t, err, "its original's")
	assert.Equal(t, wiring.Elsewhere, staging.state())
	assert.Equal(t, s.deps.Config.TaskQueue, s.description(c.ID).ExecutionConfig.TaskQueue.Name)
}

func (s *stack) description(id string) *workflowservice.DescribeWorkflowExecutionResponse {
	s.Helper()
	d, err := s.client.DescribeWorkflowExecution(context.Background(), workflows.ID(id), "")
	require.NoError(s, err)
	return d
}
