package e2e

import (
	"database/sql"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
)

// TestStoreAwayAfterTheReply removes the table while the provider works, for longer
// than the engine tries to save. The rotated token set waits in the workflow, sealed,
// and is stored when the table is back.
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
	s.until(c.ID, "the unsaved tokens stored, and refreshed again", generation(3))
	s.eventually("the spool is empty", func() bool {
		kept, err := filepath.Glob(filepath.Join(s.dir, "spool", "*.sealed"))
		require.NoError(t, err)
		return len(kept) == 0
	})
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	assert.Equal(t, perennial.StatusActive, s.get(c.ID).Status)
	s.replayAll(c.ID, "unsaved")
}

// TestCancelledTogetherWithTheTokens: an operator cancels a workflow that has a token
// set which is stored nowhere else, as large as sets get, and no worker runs. The next worker stores the set
// before the workflow ends.
func TestCancelledTogetherWithTheTokens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	stop := s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true})
	s.eventually("the workflow sleeps", func() bool { return s.asleep(c.ID) })
	stop()

	sealed := func(field seal.Field) []byte {
		out, err := s.deps.Keyring.Seal(seal.BindingOf(c, field, c.Generation+1), perennial.NewSecret("rotated"+strings.Repeat("x", 250<<10)))
		require.NoError(t, err)
		return out
	}
	req := store.SaveRequest{
		ID: c.ID, AttemptID: "unsaved", Generation: c.Generation, Digest: c.RefreshTokenDigest, NewGeneration: c.Generation + 1,
		SealedTokens: store.SealedTokens{
			AccessTokenSealed:  sealed(seal.FieldAccessToken),
			RefreshTokenSealed: sealed(seal.FieldRefreshToken),
			RefreshTokenDigest: "rotated",
			ExpiresAt:          time.Now().Add(10 * time.Minute),
			NextRefreshAt:      time.Now().Add(9 * time.Minute),
		},
	}
	require.NoError(t, refresh.Authenticate(s.deps.Keyring, c, &req))
	require.NoError(t, s.updates.Unsaved(ctx, c, req))
	require.NoError(t, s.client.CancelWorkflow(ctx, workflows.ID(c.ID), ""))
	s.work()
	s.eventually("the workflow is cancelled", func() bool {
		return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED
	})
	assert.Equal(t, c.Generation+1, s.get(c.ID).Generation)
	s.replayAll(c.ID, "cancelled-unsaved")
}

// TestHostileMessages sends signals without a token set or with another connection's,
// and generations that no row has. The connection is refreshed on time, its neighbour
// does not change, and no number makes the engine present a token.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true})
	other := s.connect("a2", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	s.eventually("the neighbour sleeps", func() bool { return s.asleep(other.ID) })
	garbage := store.SaveRequest{ID: other.ID, AttemptID: "x", Generation: 7, NewGeneration: 8, SealedTokens: store.SealedTokens{
		AccessTokenSealed:  []byte("x"),
		RefreshTokenSealed: []byte("y"),
		RefreshTokenDigest: "z",
	},
		Ledger: perennial.Attempt{ID: "x", StartedAt: time.Now().Add(time.Hour)}}
	own := garbage
	own.ID, own.Generation, own.NewGeneration = c.ID, c.Generation, c.Generation+1
	overflow := own
	overflow.Generation, overflow.NewGeneration = math.MaxInt64, math.MinInt64
	for _, payload := range []any{"not a set", nil, map[string]any{}, []byte{0xff}, garbage, own, overflow} {
		require.NoError(t, s.client.SignalWorkflow(ctx, workflows.ID(c.ID), "", workflows.SignalUnsaved, payload))
		require.NoError(t, s.client.SignalWorkflow(ctx, workflows.ID(c.ID), "", workflows.SignalNudge, payload))
	}
	require.NoError(t, s.client.SignalWorkflow(ctx, workflows.ID(other.ID), "", workflows.SignalUnsaved, garbage), "sealed for nobody, to its own workflow")
	_, err := s.client.QueryWorkflow(ctx, workflows.ID(c.ID), "", workflows.QueryStatus, map[string]int{"an": 1}, "argument")
	require.NoError(t, err)
	handle, err := s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: workflows.ID(c.ID), UpdateName: workflows.UpdateRefreshNow,
		Args: []any{"not a request"}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = handle.Get(ctx, nil)
	}
	require.Error(t, err)
	for _, n := range []int64{other.Generation + 1, other.Generation + 10_001, 1 << 62, math.MaxInt64} {
		_, err := s.updates.RefreshNow(ctx, other.ID, workflows.RefreshNow{IfGeneration: n})
		var ahead *perennial.GenerationAheadError
		require.ErrorAs(t, err, &ahead, n)
		assert.Equal(t, other.Generation, ahead.Generation)
	}
	before := s.get(c.ID).Generation
	got := s.until(c.ID, "two more refreshes", generation(before+2))
	assert.Equal(t, perennial.HealthHealthy, got.Health)
	left := s.get(other.ID)
	assert.Equal(t, other.Generation, left.Generation)
	assert.Equal(t, other.RefreshTokenSealed, left.RefreshTokenSealed)
	assert.Zero(t, s.oracle("a2").Refreshes)
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	s.replayAll(c.ID, "hostile-messages")
}
