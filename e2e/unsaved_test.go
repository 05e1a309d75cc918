package e2e

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// TestStoreAwayAfterTheReply takes the table away while the provider works, for
// longer than the engine tries to save: the rotated tokens wait in the workflow,
// sealed, and are stored when the table is back.
func TestStoreAwayAfterTheReply(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true, LatencyAfterMS: 1000})
	db, err := sql.Open("pgx", s.url)
	require.NoError(t, err)
	defer db.Close()
	s.eventually("the provider rotated the token", func() bool { return s.oracle("a1").Refreshes == 1 })
	_, err = db.Exec("ALTER TABLE connections RENAME TO away")
	require.NoError(t, err)
	s.eventually("the engine gave up and the workflow tries", func() bool {
		d, err := s.client.DescribeWorkflowExecution(t.Context(), "connection/"+c.ID, "")
		require.NoError(t, err)
		for _, a := range d.PendingActivities {
			if a.ActivityType.Name == "PersistSealed" && a.Attempt > 1 {
				return true
			}
		}
		return false
	})
	kept, err := filepath.Glob(filepath.Join(s.dir, "spool", "*.sealed"))
	require.NoError(t, err)
	assert.Len(t, kept, 1, "the spool has them too")
	_, err = db.Exec("ALTER TABLE away RENAME TO connections")
	require.NoError(t, err)
	s.until(c.ID, "the kept tokens stored, and refreshed again", generation(3))
	s.eventually("the spool is empty", func() bool {
		kept, err := filepath.Glob(filepath.Join(s.dir, "spool", "*.sealed"))
		require.NoError(t, err)
		return len(kept) == 0
	})
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	assert.Equal(t, perennial.StatusActive, s.get(c.ID).Status)
	s.replayAll(c.ID, "unsaved")
}

// TestCancelledTogetherWithTheTokens: somebody cancels a workflow by hand while it has
// a token set that is stored nowhere else, and no worker is there. The first that comes
// stores it before the workflow ends.
func TestCancelledTogetherWithTheTokens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	stop := s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true})
	s.eventually("the workflow sleeps", func() bool { return s.asleep(c.ID) })
	stop()

	sealed := func(field seal.Field) []byte {
		out, err := s.deps.Keyring.Seal(seal.BindingOf(c, field, c.Generation+1), perennial.NewSecret("rotated"))
		require.NoError(t, err)
		return out
	}
	require.NoError(t, s.updates.Unsaved(ctx, c, store.SaveRequest{
		ID: c.ID, AttemptID: "unsaved", Generation: c.Generation, Digest: c.RefreshTokenDigest, NewGeneration: c.Generation + 1,
		AccessTokenSealed: sealed(seal.FieldAccessToken), RefreshTokenSealed: sealed(seal.FieldRefreshToken), RefreshTokenDigest: "rotated",
		ExpiresAt: time.Now().Add(10 * time.Minute), NextRefreshAt: time.Now().Add(9 * time.Minute),
	}))
	require.NoError(t, s.client.CancelWorkflow(ctx, workflows.ID(c.ID), ""))
	s.work()
	s.eventually("the workflow is cancelled", func() bool {
		return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED
	})
	assert.Equal(t, c.Generation+1, s.get(c.ID).Generation)
	s.replayAll(c.ID, "cancelled-unsaved")
}
