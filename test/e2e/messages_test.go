package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdktemporal "go.temporal.io/sdk/temporal"
)

// handlers has every message that a connection's workflow takes, and for each the
// values that its senders send, altered by somebody hostile. [TestEveryMessage] fails if
// the workflow takes one that is not here. Each handler gets all of [payloads] too.
var handlers = map[string]func(h *hostile) []any{
	"signal " + workflows.SignalReconnected:   nothing,
	"signal " + workflows.SignalDisconnect:    nothing,
	"signal " + workflows.SignalPause:         nothing,
	"signal " + workflows.SignalResume:        nothing,
	"signal " + workflows.SignalNudge:         nothing,
	"signal " + workflows.SignalContinueAsNew: nothing,
	"signal " + workflows.SignalUnsaved:       (*hostile).sets,
	"update " + workflows.UpdateRefreshNow:    (*hostile).requests,
	"query " + workflows.QueryStatus:          nothing,
	"start " + workflows.ConnectionWorkflow:   (*hostile).states,
}

func nothing(*hostile) []any { return nil }

// hostile sends messages to one connection's workflow.
type hostile struct {
	*stack
	c, other perennial.Connection
	foreign  *seal.Keyring // of another installation
	random   *rand.Rand
	sent     int64 // signals that the server took
}

// TestEveryMessage sends every message of a connection's workflow in every bad form, to
// a real server: malformed, forged, late, repeated, oversized, with the largest numbers
// and the farthest times. Each connection is refreshed on time afterwards, its
// neighbour's row does not change, nothing that was sent is stored, what is dropped is
// counted and logged once in a run, and the workflow can be replayed.
// PERENNIAL_TEST_SEED draws other alterations, PERENNIAL_TEST_ALTERED more of them.
func TestEveryMessage(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.work()
	other := s.connect("neighbour", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	s.eventually("the neighbour sleeps", func() bool { return s.asleep(other.ID) })
	assert.ElementsMatch(t, slices.Collect(maps.Keys(handlers)), s.takes(other.ID), "the table of this test names every message that the workflow takes")
	foreign, err := seal.NewEphemeral()
	require.NoError(t, err)
	seed := number(t, "PERENNIAL_TEST_SEED", 1)
	var all sync.WaitGroup
	for i, name := range slices.Sorted(maps.Keys(handlers)) {
		c := s.connect(name, fakeprovider.Knobs{LifetimeSeconds: 20, Rotate: true})
		h := &hostile{stack: s, c: c, other: other, foreign: foreign, random: rand.New(rand.NewPCG(uint64(seed), uint64(i)))}
		all.Go(func() { h.attack(name) })
	}
	all.Wait()
	left := s.get(other.ID)
	assert.Equal(t, other.Generation, left.Generation)
	assert.Equal(t, other.RefreshTokenSealed, left.RefreshTokenSealed)
	assert.Equal(t, other.AccessTokenSealed, left.AccessTokenSealed)
	assert.Zero(t, s.oracle("neighbour").Refreshes)
}

func number(t *testing.T, name string, otherwise int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
	require.NoError(t, err, name)
	return n
}

// takes asks the workflow which messages it takes.
func (s *stack) takes(id string) []string {
	reply, err := s.client.QueryWorkflow(s.Context(), workflows.ID(id), "", "__temporal_workflow_metadata")
	require.NoError(s, err)
	var m sdkpb.WorkflowMetadata
	require.NoError(s, reply.Get(&m))
	names := []string{"start " + m.Definition.Type}
	add := func(kind string, all []*sdkpb.WorkflowInteractionDefinition) {
		for _, d := range all {
			if !strings.HasPrefix(d.Name, "__") {
				names = append(names, kind+" "+d.Name)
			}
		}
	}
	add("signal", m.Definition.SignalDefinitions)
	add("update", m.Definition.UpdateDefinitions)
	add("query", m.Definition.QueryDefinitions)
	return names
}

// attack sends the messages of one handler, waits for two refreshes and looks at what is
// left.
func (h *hostile) attack(handler string) {
	kind, name, _ := strings.Cut(handler, " ")
	h.c = h.until(h.c.ID, handler+": refreshed before", generation(2))
	values := handlers[handler](h)
	messages := payloads()
	for _, v := range values {
		messages = append(messages, []*commonpb.Payload{encoded(v)})
	}
	for range number(h.T, "PERENNIAL_TEST_ALTERED", 20) {
		if len(values) > 0 {
			messages = append(messages, []*commonpb.Payload{h.altered(values)})
		}
	}
	for _, m := range messages {
		h.send(kind, name, m)
	}
	if kind == "start" { // it may have ended the run
		h.eventually("it runs, and sleeps", func() bool {
			if h.execution(h.c.ID) != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING { // it ended with its nudges: the sweep sends another
				require.NoError(h, h.updates.Signal(h.Context(), h.c, workflows.SignalNudge))
			}
			return h.asleep(h.c.ID)
		})
	}
	first := h.until(h.c.ID, handler+": a refresh afterwards", generation(h.get(h.c.ID).Generation+1))
	got := h.until(h.c.ID, handler+": another one", generation(first.Generation+1))
	h.unharmed(handler, got, first.Generation)
	if kind == "signal" && name == workflows.SignalUnsaved {
		h.counted()
	}
	h.replayAll(h.c.ID, "hostile-"+strings.ReplaceAll(handler, " ", "-"))
}

// unharmed checks the row, the provider's books, and that the refresh of the given
// generation was in time.
func (h *hostile) unharmed(handler string, got perennial.Connection, inTime int64) {
	assert.Equal(h, perennial.StatusActive, got.Status, handler)
	assert.Equal(h, perennial.HealthHealthy, got.Health, handler)
	assert.Zero(h, got.SetAsideGeneration, handler)
	oracle := h.oracle(handler)
	assert.Zero(h, oracle.ConsumedPresentations, handler)
	assert.LessOrEqual(h, got.Generation, int64(oracle.Refreshes)+1, "%s: every generation is a token set of the provider's", handler)
	ledger, err := h.deps.Store.Attempts(h.Context(), perennial.WorkerAccess(), h.c.ID, 1000)
	require.NoError(h, err)
	ledger = slices.DeleteFunc(ledger, func(a perennial.Attempt) bool { return a.Generation != inTime })
	assert.NotEmpty(h, ledger, handler)
	for _, a := range ledger {
		assert.Positive(h, a.LifeLeft, "%s: generation %d was refreshed after its token had expired", handler, a.Generation)
	}
}

// counted checks that the workflow counts what it drops, and that it logs one of a run.
func (h *hostile) counted() {
	reply, err := h.client.QueryWorkflow(h.Context(), workflows.ID(h.c.ID), "", workflows.QueryStatus)
	require.NoError(h, err)
	var status workflows.StatusReply
	require.NoError(h, reply.Get(&status))
	assert.Equal(h, h.sent, status.Dropped+h.useless(), "each is dropped, or found to be older than the row")
	assert.Zero(h, status.SetAside)
	lines := 0
	for line := range strings.Lines(string(h.logs.Bytes())) {
		if strings.Contains(line, "a message with a token set is dropped") && strings.Contains(line, h.c.ID) {
			lines++
		}
	}
	assert.Positive(h, lines)
	assert.LessOrEqual(h, lines, len(h.histories(h.c.ID)), "once in a run")
}

// useless counts the sets that need not be stored, because the row has newer tokens.
func (h *hostile) useless() (n int64) {
	for _, run := range h.histories(h.c.ID) {
		stores := map[int64]bool{}
		for _, e := range run.Events {
			if e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName() == "PersistSealed" {
				stores[e.EventId] = true
			}
			if stores[e.GetActivityTaskCompletedEventAttributes().GetScheduledEventId()] {
				n++
			}
		}
	}
	return n
}

// send sends one message. The server may refuse it; then it is not in the workflow.
func (h *hostile) send(kind, name string, args []*commonpb.Payload) {
	ctx, id := h.Context(), workflows.ID(h.c.ID)
	var raw []any
	for _, p := range args {
		raw = append(raw, converter.NewRawValue(p))
	}
	switch kind {
	case "signal":
		err := h.closing(func() error { return h.signal(id, name, args) })
		if err == nil {
			h.sent++
		}
		h.refused(err, args)
	case "update":
		if slices.ContainsFunc(args, func(p *commonpb.Payload) bool { return len(p.Data) > 2<<20-2<<10 }) {
			return // TestLargestUpdate
		}
		handle, err := h.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: id, UpdateName: name, Args: raw, WaitForStage: client.WorkflowUpdateStageCompleted})
		if err == nil {
			err = handle.Get(ctx, nil)
		}
		h.refused(err, args)
	case "query":
		_, err := h.client.QueryWorkflow(ctx, id, "", name, raw...)
		h.refused(err, args)
	case "start":
		_, err := h.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: h.deps.Config.TaskQueue,
			WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING}, name, raw...)
		h.refused(err, args)
	}
}

func (h *hostile) signal(id, name string, args []*commonpb.Payload) error {
	_, err := h.client.WorkflowService().SignalWorkflowExecution(h.Context(), &workflowservice.SignalWorkflowExecutionRequest{Namespace: client.DefaultNamespace,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: id}, SignalName: name, Input: &commonpb.Payloads{Payloads: args}})
	return err
}

// closing repeats a message that the server refuses while a run continues as new.
func (h *hostile) closing(send func() error) (err error) {
	h.eventually("the run has continued as new", func() bool {
		err = send()
		var busy *serviceerror.ResourceExhausted
		return !errors.As(err, &busy)
	})
	return err
}

// refused accepts the errors by which the server or the workflow refuses one message. Any
// other says that the workflow, or its task queue, is broken.
func (h *hostile) refused(err error, args []*commonpb.Payload) {
	var invalid *serviceerror.InvalidArgument
	var query *serviceerror.QueryFailed
	var app *sdktemporal.ApplicationError
	if err != nil && !errors.As(err, &invalid) && !errors.As(err, &query) && !errors.As(err, &app) {
		assert.NoError(h, err, describe(args))
	}
}

// describe names a message in the output of a failed test.
func describe(args []*commonpb.Payload) string {
	var parts []string
	for _, p := range args {
		parts = append(parts, fmt.Sprintf("%s, %d bytes, %.200q", p.GetMetadata()["encoding"], len(p.GetData()), p.GetData()))
	}
	return strings.Join(parts, "; ")
}
