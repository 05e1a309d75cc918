package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/examples/ownprograms/platform"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/starter/cli"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"
)

// payloadKey is the key of the tests' codec.
var payloadKey = bytes.Repeat([]byte{7}, 32)

// plantedAccount must not be readable in Temporal.
const plantedAccount = "planted-account-4711"

// counting is a platform team's interceptor: it counts the calls of a program.
type counting struct {
	interceptor.InterceptorBase
	signals, updates, activities, workflows atomic.Int64
}

func (c *counting) customize() wiring.Customize { return platform.With(payloadKey, c) }

func (c *counting) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	return &countingClient{interceptor.ClientOutboundInterceptorBase{Next: next}, c}
}

func (c *counting) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	c.activities.Add(1)
	return c.InterceptorBase.InterceptActivity(ctx, next)
}

func (c *counting) InterceptWorkflow(ctx workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	c.workflows.Add(1)
	return c.InterceptorBase.InterceptWorkflow(ctx, next)
}

type countingClient struct {
	interceptor.ClientOutboundInterceptorBase
	c *counting
}

func (c *countingClient) SignalWithStartWorkflow(ctx context.Context, in *interceptor.ClientSignalWithStartWorkflowInput) (client.WorkflowRun, error) {
	c.c.signals.Add(1)
	return c.Next.SignalWithStartWorkflow(ctx, in)
}

func (c *countingClient) UpdateWorkflow(ctx context.Context, in *interceptor.ClientUpdateWorkflowInput) (client.WorkflowUpdateHandle, error) {
	c.c.updates.Add(1)
	return c.Next.UpdateWorkflow(ctx, in)
}

// command runs the command line.
func (s *stack) command(customize []wiring.Customize, args ...string) (out string, err error) {
	s.Helper()
	var stdout, stderr bytes.Buffer
	err = cli.Run(context.Background(), append(args, "--config", s.path), append(s.environ(), "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true"), strings.NewReader("yes\n"), &stdout, &stderr, customize...)
	return stdout.String(), err
}

// commanded runs a command that must succeed.
func (s *stack) commanded(customize []wiring.Customize, args ...string) string {
	s.Helper()
	out, err := s.command(customize, args...)
	require.NoError(s, err, args)
	return out
}

// inProcess runs the server program in this process until the test ends.
func (s *stack) inProcess(customize ...wiring.Customize) *serverProcess {
	s.Helper()
	s.background(wiring.RunServer, customize)
	p := &serverProcess{}
	s.eventually("the server started", func() bool {
		for line := range bytes.Lines(s.logs.Bytes()) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "server started" {
				p.address = entry.Address
			}
		}
		return p.address != ""
	})
	return p
}

const fastSweep = "\nsweep: {every: 2s, grace: 1s, full_every: 2s}"

// TestOwnCodec: with a platform team's codec and interceptors in the worker, the server
// and the command line, everything works, and Temporal holds nothing readable.
func TestOwnCodec(t *testing.T) {
	t.Parallel()
	var ofWorker, ofServer, ofCommand, ofTest counting
	s := setup(t, setting{class: perennial.ReplaySingleUse, customize: []wiring.Customize{ofTest.customize()}, top: fastSweep})
	s.commanded([]wiring.Customize{ofCommand.customize()}, "setup")
	s.endSweep()
	s.work(ofWorker.customize())
	remote := s.remote(s.inProcess(ofServer.customize()))
	s.wholeLife(remote.Backend.Refresh, ofCommand.customize())

	assert.NotZero(t, ofWorker.workflows.Load(), "the worker's part for workflows")
	assert.NotZero(t, ofWorker.activities.Load(), "the worker's part for activities")
	assert.NotZero(t, ofServer.updates.Load(), "the server")
	assert.NotZero(t, ofCommand.updates.Load(), "the command line: refresh")
	assert.NotZero(t, ofCommand.signals.Load(), "the command line: pause, resume, disconnect")
	assert.NotZero(t, ofTest.signals.Load(), "a client from wiring.Dial")
}

// wholeLife takes one connection from its connect to its disconnect, checks what
// Temporal holds of it, and replays it.
func (s *stack) wholeLife(refresh func(ctx context.Context, id string, generation int64) error, customize ...wiring.Customize) {
	s.Helper()
	ctx := s.Context()
	c := s.connect(plantedAccount, fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true})
	s.until(c.ID, "refreshed by its timer", generation(2))
	require.NoError(s, s.provider.SetKnobs(clientID, plantedAccount, fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true}))
	now := s.until(c.ID, "it has a long-lived token", func(c perennial.Connection) bool { return c.ExpiresAt.Sub(c.LastRefreshedAt).Minutes() > 5 })

	require.NoError(s, refresh(ctx, c.ID, now.Generation))
	got := s.until(c.ID, "refreshed by the server", generation(now.Generation+1))
	s.commanded(customize, "refresh", c.ID, "--if-generation", fmt.Sprint(got.Generation))
	s.until(c.ID, "refreshed by the command line", generation(got.Generation+1))
	assert.Contains(s, s.commanded(customize, "show", c.ID), plantedAccount)
	s.commanded(customize, "pause", c.ID)
	s.showsStatus(c.ID, perennial.StatusPaused)
	s.commanded(customize, "resume", c.ID)
	s.showsStatus(c.ID, perennial.StatusActive)
	_, err := s.updates.RefreshNow(ctx, c.ID, workflows.RefreshNow{IfGeneration: 1 << 40})
	var ahead *perennial.GenerationAheadError
	require.ErrorAs(s, err, &ahead, "a failure and its details come back")
	s.eventually("a pass of the sweep is complete", func() bool { return len(s.sweeps()) > 0 })
	s.commanded(customize, "disconnect", c.ID)
	s.eventually("its workflow has ended", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })

	options, err := wiring.ClientOptions(ctx, s.deps.Config, s.environ(), customize...)
	require.NoError(s, err)
	for _, h := range append(s.histories(c.ID), s.sweeps()...) {
		s.hidden(h)
		replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: workflows.Converter(options.DataConverter), FailureConverter: options.FailureConverter})
		require.NoError(s, err)
		workflows.Register(replayer, workflows.Options{})
		assert.NoError(s, replayer.ReplayWorkflowHistory(nil, h))
	}
}

// showsStatus waits until the workflow's query answers with a status.
func (s *stack) showsStatus(id string, want perennial.Status) {
	s.Helper()
	s.eventually("the query says "+string(want), func() bool {
		v, err := s.client.QueryWorkflow(s.Context(), workflows.ID(id), "", workflows.QueryStatus)
		require.NoError(s, err)
		var got workflows.StatusReply
		require.NoError(s, v.Get(&got))
		return got.Status == want
	})
}

// sweeps reads the passes of the sweep that have ended.
func (s *stack) sweeps() (out []*historypb.History) {
	s.Helper()
	list, err := s.client.ListWorkflow(s.Context(), &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowType = %q AND TaskQueue = %q AND ExecutionStatus = 'Completed'", workflows.SweepWorkflow, s.deps.Config.TaskQueue)})
	require.NoError(s, err)
	for _, e := range list.Executions {
		out = append(out, s.history(e.Execution.WorkflowId, e.Execution.RunId))
	}
	return out
}

// hidden checks that every payload of a history is encrypted, beside the search
// attributes, and that no failure has a readable text.
func (s *stack) hidden(h *historypb.History) {
	s.Helper()
	raw, err := proto.Marshal(h)
	require.NoError(s, err)
	assert.NotContains(s, string(raw), plantedAccount)
	seen := 0
	require.NoError(s, proxy.VisitPayloads(context.Background(), h, proxy.VisitPayloadsOptions{SkipSearchAttributes: true,
		Visitor: func(_ *proxy.VisitPayloadsContext, all []*commonpb.Payload) ([]*commonpb.Payload, error) {
			for _, p := range all {
				seen++
				assert.Equal(s, platform.Encoding, string(p.Metadata[converter.MetadataEncoding]), "%s", p)
			}
			return all, nil
		}}))
	assert.NotZero(s, seen)
	for _, e := range h.Events {
		if f := e.GetWorkflowExecutionUpdateCompletedEventAttributes().GetOutcome().GetFailure(); f != nil {
			assert.Equal(s, "Encoded failure", f.Message)
		}
	}
}

// TestWorkerWithoutTheCodec: a worker that lacks the codec ends no workflow, loses no
// state and refreshes nothing; the next worker that has it goes on.
func TestWorkerWithoutTheCodec(t *testing.T) {
	t.Parallel()
	var own counting
	s := setup(t, setting{class: perennial.ReplaySingleUse, customize: []wiring.Customize{own.customize()}})
	stop := s.work()
	c := s.connect(plantedAccount, fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true})
	s.eventually("a task of the workflow failed", func() bool {
		for _, e := range s.history(workflows.ID(c.ID), "").Events {
			if e.EventType == enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED {
				return true
			}
		}
		return false
	})
	assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.execution(c.ID))
	run := s.describe(c.ID).Execution.RunId
	stop()
	s.work(own.customize())
	s.resumes(c.ID, 2)
	assert.Equal(t, run, s.describe(c.ID).Execution.RunId, "still the same run")
	assert.Zero(t, s.oracle(plantedAccount).ConsumedPresentations)
}

// TestExampleOwnPrograms: the example's programs, built as they are, with their key.
func TestExampleOwnPrograms(t *testing.T) {
	t.Parallel()
	a := setupExamples(t)
	key := "PAYLOAD_KEY=" + hex.EncodeToString(payloadKey)
	program := func(name string, args ...string) *exec.Cmd {
		cmd := a.example(name, append(args, "--config", a.path)...)
		cmd.Env = append(cmd.Env, key, "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true")
		return cmd
	}
	without := a.example("worker", "--config", a.path)
	without.Stderr = nil
	out, err := without.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "set PAYLOAD_KEY to 64 hexadecimal digits")

	c := a.connect(exampleAccount, fakeprovider.Knobs{Rotate: true, LifetimeSeconds: 10})
	a.run(program("worker"))
	a.run(program("server"))
	got := a.until(c.ID, "it is refreshed by the example's worker", generation(2))
	out, err = program("perennial", "refresh", c.ID, "--if-generation", fmt.Sprint(got.Generation)).Output()
	require.NoError(t, err, string(out))
	a.until(c.ID, "it is refreshed by the example's command line", generation(got.Generation+1))
	for _, h := range a.histories(c.ID) {
		for _, e := range h.Events {
			if u := e.GetWorkflowExecutionUpdateAcceptedEventAttributes(); u != nil {
				assert.Equal(t, platform.Encoding, string(u.AcceptedRequest.Input.Args.Payloads[0].Metadata[converter.MetadataEncoding]))
			}
		}
	}
}
