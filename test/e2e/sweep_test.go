package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
)

func (s *stack) execution(id string) enumspb.WorkflowExecutionStatus {
	s.Helper()
	d, err := s.client.DescribeWorkflowExecution(s.Context(), workflows.ID(id), "")
	if missing := (*serviceerror.NotFound)(nil); errors.As(err, &missing) {
		return enumspb.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED
	}
	require.NoError(s, err)
	return d.WorkflowExecutionInfo.Status
}

var shortSweep = workflows.Sweep{Every: 2 * time.Second, Grace: time.Second, FullEvery: 2 * time.Second}

// endSweep deletes the sweep's Schedule when the test ends.
func (s *stack) endSweep() {
	s.Cleanup(func() {
		assert.NoError(s, s.client.ScheduleClient().GetHandle(context.Background(), workflows.SweepID(s.deps.Config.TaskQueue)).Delete(context.Background()))
	})
}

// TestSweep breaks everything that looks after a connection, and the sweep's Schedule
// mends it: a terminated workflow, a workflow that was never started, a row without a
// due time or with an absurd one, a paused connection without keep-alives. A workflow
// whose row is missing ends.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	made, err := workflows.SetupSweep(t.Context(), s.client, s.deps.Config.TaskQueue, workflows.Sweep{Every: time.Hour})
	require.NoError(t, err)
	assert.True(t, made)
	made, err = workflows.SetupSweep(t.Context(), s.client, s.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	assert.False(t, made, "changed in place")
	s.endSweep()

	db, err := sql.Open("pgx", s.url)
	require.NoError(t, err)
	defer db.Close()
	set := func(id, columns string) {
		_, err := db.Exec("UPDATE connections SET "+columns+" WHERE id = $1", id)
		require.NoError(t, err)
	}
	long := fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true}
	terminated := s.connect("terminated", fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true})
	noDue, absurd, paused, gone := s.connect("no due", long), s.connect("absurd", long), s.connect("paused", long), s.connect("gone", long)
	for _, c := range []perennial.Connection{noDue, absurd, paused, gone} {
		s.eventually("its workflow sleeps", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING })
	}
	_, err = s.service.Pause(t.Context(), perennial.WorkerAccess(), paused.ID)
	require.NoError(t, err)
	for _, c := range []perennial.Connection{terminated, paused} {
		require.NoError(t, s.client.TerminateWorkflow(t.Context(), workflows.ID(c.ID), "", "by a mistake"))
	}
	set(paused.ID, "last_refreshed_at = last_refreshed_at - interval '8 days', created_at = created_at - interval '8 days'")
	set(noDue.ID, "next_refresh_at = NULL")
	set(absurd.ID, "next_refresh_at = now() + interval '10 years', next_attempt_at = now() + interval '10 years'")

	for name, c := range map[string]perennial.Connection{"terminated": terminated, "no due time": noDue, "absurd": absurd, "paused": paused} {
		after := s.until(c.ID, "refreshed again: "+name, generation(2))
		assert.NotEqual(t, perennial.StatusReconnectRequired, after.Status)
	}
	assert.Equal(t, perennial.StatusPaused, s.get(paused.ID).Status, "kept alive, not resumed")
	_, err = db.Exec("WITH ended AS (INSERT INTO tombstones (connection_id, cause, written_at) VALUES ($1, 'erased', now())) DELETE FROM connections WHERE id = $1", gone.ID)
	require.NoError(t, err)
	require.NoError(t, s.updates.Signal(t.Context(), gone, workflows.SignalNudge))
	s.eventually("the orphan's workflow ends", func() bool { return s.execution(gone.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })

	schedule, err := s.client.ScheduleClient().GetHandle(t.Context(), workflows.SweepID(s.deps.Config.TaskQueue)).Describe(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, schedule.Info.RecentActions)
	s.replayRuns(schedule.Info.RecentActions[0].StartWorkflowResult.WorkflowID, "sweep")
}

// TestRefreshOfAnEndedWorkflow: a caller that asks for a token does not wait for the
// sweep.
func TestRefreshOfAnEndedWorkflow(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	c := s.connect("ended by hand", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	s.eventually("its workflow sleeps", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING })
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), workflows.ID(c.ID), "", "by a mistake"))
	reply, err := connect.Refresh(t.Context(), s.updates, c, workflows.RefreshNow{IfGeneration: 1})
	require.NoError(t, err)
	assert.EqualValues(t, 2, reply.Generation)
	assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.execution(c.ID))

	_, err = s.service.Disconnect(t.Context(), perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	s.eventually("its workflow ends", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })
	_, err = connect.Refresh(t.Context(), s.updates, s.get(c.ID), workflows.RefreshNow{})
	require.Error(t, err)
	assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, s.execution(c.ID), "nobody starts that of an ended connection")
}

// TestBesideTemporal stops Temporal for longer than a token's life. The worker's own
// engine keeps the connection alive, and its workflow continues when Temporal is back.
func TestBesideTemporal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := startTemporal(dir, 0, 0)
	require.NoError(t, err)
	s := setup(t, setting{address: server.Address, class: perennial.ReplaySingleUse})
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 12, Rotate: true})
	s.until(c.ID, "its workflow refreshes it", generation(2))
	require.NoError(t, server.Kill())
	before := s.get(c.ID).Generation
	s.until(c.ID, "refreshed beside Temporal", func(c perennial.Connection) bool {
		attempts, err := s.deps.Store.Attempts(t.Context(), perennial.WorkerAccess(), c.ID, 2)
		require.NoError(t, err)
		return c.Generation >= before+2 && attempts[0].Trigger == perennial.TriggerFallback
	})
	assert.Contains(t, s.metrics(), "\nperennial_beside_temporal 1\n")

	var port int
	_, err = fmt.Sscanf(server.Address, "127.0.0.1:%d", &port)
	require.NoError(t, err)
	again, err := startTemporal(dir, port, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, again.Stop()) })
	s.until(c.ID, "its workflow carries on", func(c perennial.Connection) bool {
		attempts, err := s.deps.Store.Attempts(t.Context(), perennial.WorkerAccess(), c.ID, 1)
		require.NoError(t, err)
		return attempts[0].Trigger == perennial.TriggerTimer && attempts[0].Outcome == perennial.OutcomeRefreshed
	})
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	assert.Contains(t, s.metrics(), `perennial_attempts_total{app="app",outcome="refreshed"}`)
}

var healthAddress = regexp.MustCompile(`"health":"([^"]+)"`)

// metrics returns the metrics page of the worker that was started last.
func (s *stack) metrics() string {
	s.Helper()
	pages := s.pages("/metrics")
	return pages[len(pages)-1]
}

// pages returns a page of each worker's probes, in the order of their starts. All of them
// must run.
func (s *stack) pages(path string) (pages []string) {
	s.Helper()
	found := healthAddress.FindAllSubmatch(s.logs.Bytes(), -1)
	require.NotEmpty(s, found)
	for _, address := range found {
		resp, err := http.Get("http://" + string(address[1]) + path)
		require.NoError(s, err)
		page, err := io.ReadAll(resp.Body)
		require.NoError(s, err)
		require.NoError(s, resp.Body.Close())
		pages = append(pages, string(page))
	}
	return pages
}
