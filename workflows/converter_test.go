package workflows

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

// switchable is a payload codec that can be away, or not know a payload.
type switchable struct{ away, blind bool }

var (
	errAway    = errors.New("the codec server does not answer")
	errUnknown = errors.New("no key opens the payload")
)

const switchableEncoding = "binary/switchable"

func (s *switchable) Encode(in []*commonpb.Payload) (out []*commonpb.Payload, err error) {
	if s.away {
		return nil, errAway
	}
	for _, p := range in {
		inner, err := p.Marshal()
		if err != nil {
			return nil, err
		}
		out = append(out, &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte(switchableEncoding)}, Data: inner})
	}
	return out, nil
}

func (s *switchable) Decode(in []*commonpb.Payload) (out []*commonpb.Payload, err error) {
	if s.away {
		return nil, errAway
	}
	for _, p := range in {
		if string(p.Metadata["encoding"]) != switchableEncoding {
			out = append(out, p)
			continue
		}
		var inner commonpb.Payload
		if s.blind || inner.Unmarshal(p.Data) != nil {
			return nil, errUnknown
		}
		out = append(out, &inner)
	}
	return out, nil
}

func (s *switchable) converter() converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), s)
}

// TestMessageThatNoCodecDecodes: such a message stops no timer and is counted; a true
// set behind it is stored.
func TestMessageThatNoCodecDecodes(t *testing.T) {
	t.Parallel()
	garbage := converter.NewRawValue(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte(switchableEncoding)}, Data: []byte{0xff}})
	for name, payload := range map[string]any{"of another key": garbage, "of another codec": hostile["unknown encoding"], "in plain text": "not a set"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(time.Hour, 0)
			r := w.newRun(t, Options{})
			r.SetDataConverter(Converter((&switchable{}).converter()))
			r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalUnsaved, payload) }, time.Minute)
			var status StatusReply
			r.RegisterDelayedCallback(func() {
				got, err := r.QueryWorkflow(QueryStatus)
				require.NoError(t, err)
				require.NoError(t, got.Get(&status))
				r.SignalWorkflow(SignalUnsaved, store.SaveRequest{ID: w.c.ID, Generation: w.c.Generation, NewGeneration: w.c.Generation + 1})
			}, 110*time.Minute)
			r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 111*time.Minute)
			r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
			require.True(t, r.IsWorkflowCompleted())
			assert.True(t, temporal.IsCanceledError(r.GetWorkflowError()), r.GetWorkflowError())
			assert.GreaterOrEqual(t, w.c.Generation, int64(3), "refreshed in time")
			assert.EqualValues(t, 1, status.Dropped)
			assert.Equal(t, 1, w.persisted)
		})
	}
}

// TestCodecAwayFailsTheTask: a payload that cannot be encoded or decoded fails the workflow
// task, which a real server repeats; the workflow does not see an error.
func TestCodecAwayFailsTheTask(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(r *runSimulation, c *switchable){
		"from the start": func(_ *runSimulation, c *switchable) { c.blind = true },
		"in a refresh":   func(r *runSimulation, c *switchable) { r.w.during = func() { c.away = true } },
		"with a token set": func(r *runSimulation, c *switchable) {
			r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalUnsaved, store.SaveRequest{ID: r.w.c.ID}); c.away = true }, time.Minute)
		},
		"a key that is gone": func(r *runSimulation, c *switchable) { r.w.during = func() { c.blind = true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(time.Hour, 0)
			r := w.newRun(t, Options{})
			var c switchable
			r.SetDataConverter(Converter(c.converter()))
			begin(r, &c)
			r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 3*time.Hour)
			r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
			require.True(t, r.IsWorkflowCompleted())
			var panicked *temporal.PanicError
			assert.ErrorAs(t, r.GetWorkflowError(), &panicked)
			assert.ErrorContains(t, r.GetWorkflowError(), "the task is repeated")
		})
	}
}

// TestOtherWorkflowsGetTheirErrors: a team's own workflow on the same worker sees the
// errors of its converter, as it would without us.
func TestOtherWorkflowsGetTheirErrors(t *testing.T) {
	t.Parallel()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestWorkflowEnvironment()
	var c switchable
	env.SetDataConverter(Converter(c.converter()))
	var seen error
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		c.away = true
		seen = workflow.SideEffect(ctx, func(workflow.Context) any { c.away = false; return 1 }).Get(nil)
		c.blind = true
		var n int
		seen = workflow.SideEffect(ctx, func(workflow.Context) any { return 1 }).Get(&n)
		return nil
	}, workflow.RegisterOptions{Name: "SyncOrders"})
	env.ExecuteWorkflow("SyncOrders")
	require.NoError(t, env.GetWorkflowError())
	assert.ErrorIs(t, seen, errUnknown)
}

// TestRegisteredNames: the converter knows every workflow that Register registers.
func TestRegisteredNames(t *testing.T) {
	t.Parallel()
	var r nameRegistry
	Register(&r, Options{})
	slices.Sort(r.seen)
	assert.Equal(t, r.seen, slices.Sorted(slices.Values(registeredNames)))
}

type nameRegistry struct{ seen []string }

func (*nameRegistry) RegisterWorkflow(any) {}
func (r *nameRegistry) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	r.seen = append(r.seen, o.Name)
}
func (*nameRegistry) RegisterDynamicWorkflow(any, workflow.DynamicRegisterOptions) {}

func TestCheckConverter(t *testing.T) {
	t.Parallel()
	assert.NoError(t, CheckConverter(converter.GetDefaultDataConverter()))
	assert.NoError(t, CheckConverter((&switchable{}).converter()))
	assert.ErrorIs(t, CheckConverter((&switchable{away: true}).converter()), errAway)
	assert.ErrorIs(t, CheckConverter((&switchable{blind: true}).converter()), errUnknown)
}
