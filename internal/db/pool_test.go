package db_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
)

// TestPool: a process has at most as many connections as its setting says, five by
// default, and closes unused ones.
func TestPool(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	admin, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	held := func(name string) (n int) {
		t.Helper()
		require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name).Scan(&n))
		return n
	}
	for name, c := range map[string]struct {
		pool db.Pool
		most int
	}{
		"pool_default": {db.Pool{IdleTime: 100 * time.Millisecond}, 5},
		"pool_of_two":  {db.Pool{MaxOpen: 2, IdleTime: 100 * time.Millisecond}, 2},
	} {
		s, err := db.Open(t.Context(), url+"&application_name="+name, c.pool)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		blocker, err := admin.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = blocker.ExecContext(t.Context(), "SELECT pg_advisory_xact_lock(1)")
		require.NoError(t, err)
		var callers errgroup.Group
		for range 12 {
			callers.Go(func() error { return s.With(t.Context()).Exec("SELECT pg_advisory_xact_lock_shared(1)").Error })
		}
		require.Eventually(t, func() bool { return held(name) == c.most }, time.Minute, 5*time.Millisecond, "as many as it may")
		require.Equal(t, c.most, held(name), "and no more, though others wait")
		require.NoError(t, blocker.Commit())
		require.NoError(t, callers.Wait())
		require.Eventually(t, func() bool { return held(name) == 0 }, time.Minute, 20*time.Millisecond, "unused, they are closed")
	}
	for _, pool := range []db.Pool{{MaxOpen: 1}, {MaxOpen: -1}, {IdleTime: -1}} {
		_, err := db.Open(t.Context(), url, pool)
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	}
}
