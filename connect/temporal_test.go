package connect_test

import (
	"context"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// refusing is a Temporal server that refuses every start.
type refusing struct {
	client.Client
	err error
}

func (r refusing) SignalWithStartWorkflow(context.Context, string, string, any, client.StartWorkflowOptions, any, ...any) (client.WorkflowRun, error) {
	return nil, r.err
}

// TestMissingSearchAttribute: the error of a namespace without the search attributes
// says which command to run. No other error does.
func TestMissingSearchAttribute(t *testing.T) {
	t.Parallel()
	for message, hint := range map[string]bool{
		"Namespace default has no mapping defined for search attribute PerennialTenant": true,
		"the workflow id is too long": false,
	} {
		w := &connect.Temporal{Client: refusing{err: serviceerror.NewInvalidArgument(message)}, TaskQueue: "perennial"}
		err := w.Signal(t.Context(), perennial.Connection{ID: "con_1"}, "nudge")
		require.ErrorContains(t, err, message)
		if hint {
			require.ErrorContains(t, err, "run `perennial setup`")
		} else {
			require.NotContains(t, err.Error(), "setup")
		}
	}
}
