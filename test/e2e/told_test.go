package e2e

import (
	"context"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestAskedWithTheNews: a product that reconnects or resumes a connection and asks for
// a token at once is not refused because of the state before. No worker runs until both
// messages are there, so the workflow gets them in one workflow task.
func TestAskedWithTheNews(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := setup(t, setting{})
	stop := s.work()
	steady := fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true}
	accounts := []string{"refused", "paused 1", "paused 2", "paused 3"}
	ids := map[string]string{}
	for _, account := range accounts {
		c := s.connect(account, steady)
		ids[account] = c.ID
		if account != "refused" {
			_, err := s.service.Pause(ctx, perennial.WorkerAccess(), c.ID)
			require.NoError(t, err)
			s.eventually("the workflow knows the pause", func() bool { return s.workflowStatus(c.ID) == perennial.StatusPaused })
			continue
		}
		require.NoError(t, s.provider.Revoke(clientID, account))
		_, err := s.updates.RefreshNow(ctx, c.ID, workflows.RefreshNow{IfGeneration: c.Generation})
		require.NoError(t, err)
		s.eventually("the workflow knows the refusal", func() bool { return s.workflowStatus(c.ID) == perennial.StatusReconnectRequired })
	}
	stop()

	var asked errgroup.Group
	for _, account := range accounts {
		id := ids[account]
		var now perennial.Connection
		var err error
		if account != "refused" {
			now, err = s.service.Resume(ctx, perennial.WorkerAccess(), id)
		} else {
			now, err = s.service.Reconnect(ctx, perennial.WorkerAccess(), id, s.consent(account, steady))
		}
		require.NoError(t, err)
		asked.Go(func() error {
			reply, err := s.updates.RefreshNow(ctx, id, workflows.RefreshNow{IfGeneration: now.Generation})
			assert.Greater(t, reply.Generation, now.Generation, account)
			return err
		})
	}
	s.work()
	require.NoError(t, asked.Wait())
	s.replayAll(ids["refused"], "told-and-asked")
}
