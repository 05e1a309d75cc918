package e2e

import (
	"bytes"
	"context"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// TestExampleOwnworker: a team's own worker keeps the connection alive, and its own
// workflow waits until a revoked connection is repaired.
func TestExampleOwnworker(t *testing.T) {
	t.Parallel()
	a := setupExamples(t)
	c := a.connect(exampleAccount, fakeprovider.Knobs{Rotate: true, LifetimeSeconds: 10})
	a.run(a.example("ownworker", "-config", a.path, "-tenant", "tenant"))
	a.until(c.ID, "it is refreshed by the example's worker", generation(2))

	a.revokeIn.Store(2)
	orders := []string{"1", "2", "3", "4"}
	run, err := a.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: t.Name(), TaskQueue: a.deps.Config.TaskQueue}, "SyncOrders",
		map[string]any{"connection": c.ID, "orders": orders})
	require.NoError(t, err)
	a.until(c.ID, "the revocation confirmed", status(perennial.StatusReconnectRequired))
	a.eventually("the sync waits", func() bool { return bytes.Contains(a.logs.Bytes(), []byte("the sync waits")) })
	a.once(1)
	_, err = a.service.Reconnect(t.Context(), perennial.WorkerAccess(), c.ID, a.consent(exampleAccount, fakeprovider.Knobs{Rotate: true, WriteDropAfter: 3}))
	require.NoError(t, err)
	require.NoError(t, a.client.SignalWorkflow(t.Context(), run.GetID(), "", "recovered", nil))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, run.Get(ctx, nil))
	a.once(len(orders))
	assert.NotZero(t, a.oracle(exampleAccount).RepeatedWrites)
}
