package direct

import (
	"context"
	"fmt"

	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	temporal "go.temporal.io/sdk/client"
)

// Temporal returns the [Workflows] of a Temporal client.
func Temporal(c temporal.Client, taskQueue string) Workflows {
	return &overTemporal{&connect.Temporal{Client: c, TaskQueue: taskQueue}}
}

type overTemporal struct{ *connect.Temporal }

// Healthy implements [Workflows].
func (t *overTemporal) Healthy(ctx context.Context) error {
	if _, err := t.Client.CheckHealth(ctx, &temporal.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("ask Temporal for its health: %w", err)
	}
	return nil
}

// Sets implements [Workflows].
func (t *overTemporal) Sets(ctx context.Context, id string) ([]store.SaveRequest, error) {
	return workflows.UnsavedSets(ctx, t.Client, id)
}
