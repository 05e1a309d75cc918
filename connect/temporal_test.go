package connect_test

import (
	"context"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// refusing is a Temporal server that refuses starts with search attributes, or all.
type refusing struct {
	client.Client
	err    error
	all    bool
	states *[]workflows.State
}

func (r refusing) SignalWithStartWorkflow(_ context.Context, _ string, _ string, _ any, o client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	if r.all || o.TypedSearchAttributes.Size() > 0 {
		return nil, r.err
	}
	*r.states = append(*r.states, args[0].(workflows.State))
	return nil, nil
}

// TestMissingSearchAttribute: a namespace without our search attributes, or with one of
// another type, costs no start and no signal. Another refusal is an error.
func TestMissingSearchAttribute(t *testing.T) {
	t.Parallel()
	c := perennial.Connection{ID: "con_1", Status: perennial.StatusActive, App: "app"}
	for message, all := range map[string]bool{
		"Namespace default has no mapping defined for search attribute PerennialTenant": false,
		"invalid value for search attribute PerennialStatus of type Int":                false,
		"the workflow id is too long":                                                   true,
	} {
		var states []workflows.State
		w := &connect.Temporal{Client: refusing{err: serviceerror.NewInvalidArgument(message), all: all, states: &states}, TaskQueue: "perennial"}
		err := w.Signal(t.Context(), c, "nudge")
		if all {
			require.ErrorContains(t, err, message)
			require.Empty(t, states)
			continue
		}
		require.NoError(t, err)
		require.Len(t, states, 1)
		require.Empty(t, states[0].Shown, "the workflow shows them once they are there")
	}
	var states []workflows.State
	w := &connect.Temporal{Client: refusing{err: serviceerror.NewUnavailable("away"), states: &states}, TaskQueue: "perennial"}
	require.ErrorContains(t, w.Signal(t.Context(), c, "nudge"), "away")
	require.Empty(t, states, "not asked again")
}
