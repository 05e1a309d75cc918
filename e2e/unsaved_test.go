package e2e

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
