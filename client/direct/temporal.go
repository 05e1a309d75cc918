package direct

import (
	"context"
	"errors"
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/api/serviceerror"
	temporal "go.temporal.io/sdk/client"
)

// Temporal is the [Workflows] of a Temporal client.
func Temporal(c temporal.Client, taskQueue string) Workflows {
	return &overTemporal{&connect.Temporal{Client: c, TaskQueue: taskQueue}}
}

type overTemporal struct{ *connect.Temporal }

// RefreshNow implements [Workflows].
func (t *overTemporal) RefreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	reply, err := t.Temporal.RefreshNow(ctx, id, req)
	if _, ok := errors.AsType[*serviceerror.NotFound](err); ok {
		err = perennial.Errorf(perennial.CodeNotFound, "no workflow runs for connection %s: %w", id, err)
	}
	return reply, err
}

// Healthy implements [Workflows].
func (t *overTemporal) Healthy(ctx context.Context) error {
	if _, err := t.Client.CheckHealth(ctx, &temporal.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("ask Temporal for its health: %w", err)
	}
	return nil
}
