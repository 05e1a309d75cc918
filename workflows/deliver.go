package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// DeliverWorkflow is the registered name of the workflow that delivers one event to one
// endpoint. It ends when the event is delivered or given up.
const DeliverWorkflow = "DeliverWorkflow"

// deliverer is nil on purpose: it only gives the activity its name.
var deliverer *activities.Deliverer

// deliver runs one activity with retries over days. Each failed try returns when the
// next one is due, and the last one gives up. The retry policy covers tries that could
// not be made or recorded. It has no time limit: an outage of ours must not lose an
// event.
func deliver(ctx workflow.Context, req activities.DeliveryRequest) (perennial.DeliveryState, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 10 * time.Minute},
		Summary:             "send it to the endpoint",
	})
	var state perennial.DeliveryState
	err := workflow.ExecuteActivity(ctx, deliverer.Deliver, req).Get(ctx, &state)
	return state, err
}

// DeliveryID is the id of the workflow that delivers an event to an endpoint.
func DeliveryID(taskQueue, event, endpoint string) string {
	return fmt.Sprintf("perennial/%s/deliver/%s/%s", taskQueue, event, endpoint)
}

// StartDelivery starts the delivery of an event to an endpoint, unless it is running.
// Any process may call it, repeatedly.
func StartDelivery(ctx context.Context, c client.Client, taskQueue, event, endpoint string) error {
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: DeliveryID(taskQueue, event, endpoint), TaskQueue: taskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, // an event may be redelivered
	}, DeliverWorkflow, activities.DeliveryRequest{EventID: event, EndpointID: endpoint})
	if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); err != nil && !running {
		return fmt.Errorf("start the delivery of event %s to endpoint %s: %w", event, endpoint, err)
	}
	return nil
}
