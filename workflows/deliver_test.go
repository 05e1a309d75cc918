package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
)

// letters fails the first tries of a delivery.
type letters struct {
	fails int
	tries []time.Time
	now   func() time.Time
	lost  int // number of tries that end without being recorded
}

func (l *letters) Deliver(_ context.Context, event, endpoint string) (notify.DeliveryResult, error) {
	l.tries = append(l.tries, l.now())
	t := notify.DeliveryResult{EventID: event, EndpointID: endpoint, State: perennial.DeliveryDelivered}
	switch {
	case len(l.tries) <= l.lost:
		return t, perennial.Errorf(perennial.CodeUnavailable, "the database does not answer")
	case len(l.tries) <= l.fails:
		t.State, t.Error, t.Next = perennial.DeliveryPending, "the endpoint replied HTTP 500", 6*time.Hour
	}
	return t, nil
}

// TestDeliverWorkflow: failed tries are hours apart, as each one's result says. A try
// that could not be recorded is repeated soon. Days of failures do not end the
// workflow.
func TestDeliverWorkflow(t *testing.T) {
	t.Parallel()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute}) // a busy machine is no deadlock
	l := &letters{lost: 2, fails: 8, now: env.Now}
	env.RegisterActivity(&activities.Deliverer{Notify: l})
	env.ExecuteWorkflow(deliver, activities.DeliveryRequest{EventID: "evt_1", EndpointID: "whe_1"})
	require.NoError(t, env.GetWorkflowError())
	var state perennial.DeliveryState
	require.NoError(t, env.GetWorkflowResult(&state))
	require.Equal(t, perennial.DeliveryDelivered, state)
	require.Len(t, l.tries, 9)
	require.Less(t, l.tries[2].Sub(l.tries[0]), time.Minute)
	require.InDelta(t, 36, l.tries[8].Sub(l.tries[2]).Hours(), 0.1)
}

func TestDeliveryID(t *testing.T) {
	t.Parallel()
	require.Equal(t, "perennial/queue/deliver/evt_1/whe_1", DeliveryID("queue", "evt_1", "whe_1"))
}
