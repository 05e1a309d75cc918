package doctor_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// temporal starts one server for all tests. Each test has a task queue of its own.
var temporal = sync.OnceValues(func() (*devserver.Server, error) {
	dir, err := os.MkdirTemp("", "perennial-doctor-")
	if err != nil {
		return nil, err
	}
	binary, err := devserver.Path(context.Background(), os.Stderr)
	if err != nil {
		return nil, err
	}
	return devserver.Start(context.Background(), devserver.Options{Binary: binary, Database: filepath.Join(dir, "temporal.db"), Attributes: workflows.AttributeNames()})
})

// dial gives the clinic a client of the real server. refuse names the calls that are
// answered with PermissionDenied instead of being sent.
func (c *clinic) dial(namespace string, refuse ...string) client.Client {
	c.Helper()
	server, err := temporal()
	require.NoError(c, err)
	o := client.Options{HostPort: server.Address, Namespace: namespace}
	o.ConnectionOptions.DialOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			for _, name := range refuse {
				if strings.HasSuffix(method, "/"+name) {
					return status.Error(codes.PermissionDenied, "Request unauthorized.")
				}
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})}
	t, err := client.DialContext(c.Context(), o)
	require.NoError(c, err)
	c.Cleanup(t.Close)
	c.sources.Namespace = namespace
	c.sources.Temporal = func(context.Context) (client.Client, error) { return t, nil }
	return t
}

func (c *clinic) prepare(t client.Client) {
	c.Helper()
	_, _, err := workflows.Prepare(c.Context(), t, c.sources.Namespace, c.sources.Config.TaskQueue, workflows.Sweep(c.sources.Config.Sweep))
	require.NoError(c, err)
}

// work runs the worker program until the test ends.
func (c *clinic) work() {
	c.Helper()
	server, err := temporal()
	require.NoError(c, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- wiring.RunWorker(ctx, []string{"--config", c.path}, []string{"TEMPORAL_ADDRESS=" + server.Address, "APP_SECRET=" + planted, "ZEN_SECRET=" + planted}, &bytes.Buffer{})
	}()
	c.Cleanup(func() { cancel(); assert.NoError(c, <-done) })
}

// eventually waits until ok.
func (c *clinic) eventually(what string, ok func() bool) {
	c.Helper()
	require.Eventually(c, ok, 60*time.Second, 100*time.Millisecond, what)
}

func (c *clinic) start(t client.Client, row perennial.Connection, queue string) {
	c.Helper()
	require.NoError(c, (&connect.Temporal{Client: t, TaskQueue: queue}).Signal(c.Context(), row, workflows.SignalNudge))
	// A connection that was just made is not looked at: its start may be on its way.
	c.d.Exec(c, "UPDATE connections SET created_at = "+c.ago(time.Hour))
}

// TestAllWell: everything runs, and each check says so.
func TestAllWell(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, testpg.URL(t)))
	tc := c.dial("default")
	c.prepare(tc)
	_, _, err := c.bound(tc).Setup(t.Context())
	require.NoError(t, err)
	c.work()
	for _, id := range []string{"con_1", "con_2"} {
		c.start(tc, c.insert(id, "app", "api.hubapi.com"), t.Name())
	}
	c.eventually("a worker polls and reports", func() bool {
		r := doctor.Run(t.Context(), c.sources)
		return of(r, "workers")[0].State == doctor.Well && of(r, "processes")[0].State == doctor.Well
	})
	r := c.run()
	assert.Equal(t, doctor.Well, r.State, "%+v", r.Findings)
	assert.Equal(t, len(r.Findings), r.Count(doctor.Well))
	c.sees("workflows", doctor.Well, "one runs for each sampled active connection (2)")
	c.sees("permissions", doctor.Well, "each of the 21 calls")
	c.sees("sweep", doctor.Well, "")
	c.sees("configuration", doctor.Well, "without a client secret here: zen")
	history := tc.GetWorkflowHistory(t.Context(), workflows.ID("con_1"), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		e, err := history.Next()
		require.NoError(t, err)
		assert.NotContains(t, e.String(), "doctor", "it leaves nothing in a workflow")
	}
}

// TestWorkers: no worker, then one.
func TestWorkers(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.dial("default")
	c.sees("workers", doctor.Wrong, "no worker polls task queue "+t.Name()+" of namespace default for activities, workflows")
	c.work()
	c.eventually("a worker polls", func() bool { return of(doctor.Run(t.Context(), c.sources), "workers")[0].State == doctor.Well })
}

// TestLiving: a worker that ended a while ago is still listed.
func TestLiving(t *testing.T) {
	t.Parallel()
	now := time.Now()
	poller := func(identity string, ago time.Duration) *taskqueuepb.PollerInfo {
		return &taskqueuepb.PollerInfo{Identity: identity, LastAccessTime: timestamppb.New(now.Add(-ago))}
	}
	assert.Equal(t, []string{"a", "b"}, doctor.Living([]*taskqueuepb.PollerInfo{poller("a", 0), poller("ended", 2*time.Minute), poller("b", 2*time.Minute-1), {Identity: "never"}}, now))
}

// TestSweep: no schedule, a paused one, other settings, and a pass that failed.
func TestSweep(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	tc := c.dial("default")
	id := workflows.SweepID(t.Name())
	c.sees("sweep", doctor.Wrong, "there is no schedule "+id)
	c.prepare(tc)
	c.isWell("sweep")
	schedule := tc.ScheduleClient().GetHandle(t.Context(), id)
	require.NoError(t, schedule.Pause(t.Context(), client.SchedulePauseOptions{Note: "for a while"}))
	c.sees("sweep", doctor.Wrong, `is paused: "for a while"`)
	require.NoError(t, schedule.Unpause(t.Context(), client.ScheduleUnpauseOptions{}))
	c.isWell("sweep")

	c.configure("sweep: {every: 2m}")
	c.sees("sweep", doctor.Warning, "another interval than the configured 2m0s")
	c.configure("sweep: {grace: 7s}")
	c.sees("sweep", doctor.Warning, "other settings than the configuration (grace 30s")
	c.prepare(tc)
	c.isWell("sweep")

	require.NoError(t, schedule.Trigger(t.Context(), client.ScheduleTriggerOptions{}))
	var run client.ScheduleWorkflowExecution
	c.eventually("a pass begins", func() bool {
		d, err := schedule.Describe(t.Context())
		require.NoError(t, err)
		if n := len(d.Info.RecentActions); n > 0 && d.Info.RecentActions[n-1].StartWorkflowResult != nil {
			run = *d.Info.RecentActions[n-1].StartWorkflowResult
		}
		return run.WorkflowID != ""
	})
	c.isWell("sweep")
	require.NoError(t, tc.TerminateWorkflow(t.Context(), run.WorkflowID, run.FirstExecutionRunID, "by hand"))
	c.sees("sweep", doctor.Wrong, "ended as Terminated")
}

// TestLastPass: how long ago a pass may have begun.
func TestLastPass(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	pass := func(d time.Duration) []client.ScheduleActionResult {
		return []client.ScheduleActionResult{{ActualTime: ago(d)}}
	}
	running := []client.ScheduleWorkflowExecution{{WorkflowID: "x"}}
	for name, tc := range map[string]struct {
		info  client.ScheduleInfo
		state doctor.State
		seen  string
	}{
		"new":                {client.ScheduleInfo{CreatedAt: ago(time.Minute)}, doctor.Well, "its first pass comes"},
		"new, and no pass":   {client.ScheduleInfo{CreatedAt: ago(time.Hour)}, doctor.Wrong, "no pass has begun since"},
		"on time":            {client.ScheduleInfo{RecentActions: pass(time.Minute)}, doctor.Well, "the last at"},
		"none for some time": {client.ScheduleInfo{RecentActions: pass(5 * time.Minute)}, doctor.Wrong, "no pass since"},
		"one does not end":   {client.ScheduleInfo{RecentActions: pass(5 * time.Minute), RunningWorkflows: running}, doctor.Wrong, "has not ended yet"},
		"one runs":           {client.ScheduleInfo{RecentActions: pass(time.Minute), RunningWorkflows: running}, doctor.Well, "the last at"},
	} {
		found, err := doctor.LastPass(t.Context(), nil, tc.info, time.Minute)
		require.NoError(t, err, name)
		assert.Equal(t, tc.state, found[0].State, name)
		assert.Contains(t, found[0].Seen, tc.seen, name)
	}
}

// TestWorkflows: connections without a workflow, with one on another task queue, and
// with one whose task fails.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, testpg.URL(t)))
	tc := c.dial("default")
	row := c.insert("con_none_"+uuid.NewString(), "app", "api.hubapi.com")
	c.isWell("workflows") // it was just made
	c.d.Exec(t, "UPDATE connections SET created_at = "+c.ago(time.Hour))
	c.sees("workflows", doctor.Wrong, "no running workflow: 1 of 1 sampled connections: "+row.ID)
	c.start(tc, row, t.Name())
	c.isWell("workflows")
	usual := c.sources.Config.Sweep
	c.sources.Config.Sweep.Every = 100 * time.Millisecond
	c.eventually("two sweeps change nothing", func() bool { return of(doctor.Run(t.Context(), c.sources), "workflows")[0].State == doctor.Wrong })
	c.sees("workflows", doctor.Wrong, "workflows whose task no worker does: 1 of 1 sampled connections: "+row.ID)
	c.sources.Config.Sweep = usual

	other := c.insert("con_other_"+uuid.NewString(), "app", "api.hubapi.com")
	c.start(tc, other, "another-queue")
	c.sees("workflows", doctor.Wrong, "workflows on task queue another-queue instead of TestWorkflows: 1 of 2 sampled connections: "+other.ID)

	w := worker.New(tc, t.Name(), worker.Options{}) // it knows no workflow
	require.NoError(t, w.Start())
	defer w.Stop()
	c.eventually("the task has failed often", func() bool {
		d, err := tc.DescribeWorkflowExecution(t.Context(), workflows.ID(row.ID), "")
		require.NoError(t, err)
		return d.GetPendingWorkflowTask().GetAttempt() >= 5
	})
	c.sees("workflows", doctor.Wrong, "fails again and again: 1 of 2 sampled connections: "+row.ID)
	require.NoError(t, tc.TerminateWorkflow(t.Context(), workflows.ID(other.ID), "", ""))
	c.sees("workflows", doctor.Wrong, "no running workflow: 1 of 2 sampled connections: "+other.ID)
}

// TestSets: a workflow that holds a token set, one that dropped a message, and one that
// no worker answers for.
func TestSets(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, testpg.URL(t)))
	tc := c.dial("default")
	c.isWell("sets")
	row := c.insert("con_"+uuid.NewString(), "app", "api.hubapi.com")
	c.d.Exec(t, "UPDATE connections SET health = 'failing', failing_code = 'x'")
	c.isWell("sets") // another check says that it has no workflow
	c.start(tc, row, t.Name())
	c.sees("sets", doctor.Unknown, "not checked: 1 of 1 workflows of failing connections gave no answer")
	c.work()
	c.eventually("the workflow answers", func() bool { return of(doctor.Run(t.Context(), c.sources), "sets")[0].State == doctor.Well })
	require.NoError(t, tc.SignalWorkflow(t.Context(), workflows.ID(row.ID), "", workflows.SignalUnsaved, "no set"))
	c.comesToSee("sets", doctor.Warning, "dropped messages that were no token sets of theirs: "+row.ID)

	// Another connection's workflow says that it holds a set. A worker comes to that only
	// after an hour without the key.
	other := c.insert("con_"+uuid.NewString(), "app", "api.hubapi.com")
	c.d.Exec(t, "UPDATE connections SET health = 'failing', failing_code = 'set_aside' WHERE id = '"+other.ID+"'")
	w := worker.New(tc, t.Name()+"-holds", worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ workflows.State) error {
		err := workflow.SetQueryHandler(ctx, workflows.QueryStatus, func() (workflows.StatusReply, error) { return workflows.StatusReply{SetAside: 1}, nil })
		return errors.Join(err, workflow.Await(ctx, func() bool { return false }))
	}, workflow.RegisterOptions{Name: workflows.ConnectionWorkflow})
	require.NoError(t, w.Start())
	defer w.Stop()
	c.start(tc, other, t.Name()+"-holds")
	c.comesToSee("sets", doctor.Wrong, "hold token sets that could not be stored: "+other.ID)
}

// TestPermissions: each call that is refused is named, and only those.
func TestPermissions(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.dial("default")
	c.isWell("permissions")
	for _, name := range doctor.Calls() {
		c.dial("default", name, "GetSearchAttributes")
		c.sees("permissions", doctor.Wrong, "Temporal refuses 1 of 21 calls that our programs make: "+name)
	}
	c.dial("default", "PollActivityTaskQueue", "UpdateWorkflowExecution")
	c.sees("permissions", doctor.Wrong, "PollActivityTaskQueue, UpdateWorkflowExecution")
	c.dial("default", "ListSearchAttributes") // as on Temporal Cloud
	c.isWell("permissions")
	c.isWell("search attributes")
	c.dial("default", "DescribeSchedule")
	c.sees("sweep", doctor.Unknown, "not checked: DescribeSchedule: Request unauthorized.")
}

// TestTemporalAway: checks that need no Temporal run all the same; a refusal is not an
// outage.
func TestTemporalAway(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.sees("temporal", doctor.Unknown, "no Temporal server answers at nowhere")
	c.sees("sweep", doctor.Unknown, "not checked: Temporal could not be opened")
	c.isWell("schema")
	c.isWell("overdue")
	assert.Equal(t, doctor.Unknown, c.run().State)
	c.sources.Temporal = func(context.Context) (client.Client, error) {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "dial: %w", status.Error(codes.PermissionDenied, "Request unauthorized."))
	}
	c.sees("temporal", doctor.Wrong, "Temporal refuses this program")
}

// TestNamespace: a namespace that is not there, one without our search attributes, and
// one with an attribute of another type and a short retention.
func TestNamespace(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	admin := c.dial("default")
	c.isWell("temporal")
	name := "doctor-" + uuid.NewString()
	c.sources.Namespace = name
	c.sees("temporal", doctor.Wrong, "has no namespace "+name)
	c.sees("permissions", doctor.Unknown, "there is no namespace "+name)

	_, err := admin.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{Namespace: name, WorkflowExecutionRetentionPeriod: durationpb.New(2 * 24 * time.Hour)})
	require.NoError(t, err)
	var tc client.Client
	c.eventually("the namespace is known", func() bool {
		tc = c.dial(name)
		_, err := tc.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: name})
		return err == nil
	})
	c.sees("search attributes", doctor.Wrong, "PerennialApp, PerennialProvider, PerennialStatus and 1 more")
	_, err = tc.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{Namespace: name,
		SearchAttributes: map[string]enumspb.IndexedValueType{"PerennialTenant": enumspb.INDEXED_VALUE_TYPE_INT}})
	require.NoError(t, err)
	c.eventually("setup adds the others", func() bool {
		_, err := workflows.Setup(t.Context(), tc, name)
		return err == nil && len(of(c.run(), "search attributes")) == 1
	})
	c.sees("search attributes", doctor.Wrong, "PerennialTenant is of type Int and must be Keyword")
	c.isWell("temporal")
	c.sees("temporal", doctor.Well, "which keeps ended runs for 2 days")
}
