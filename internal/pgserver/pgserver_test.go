package pgserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestFreezeWhileBackendsEnd: a backend that ends between the listing and its signal is no
// error; the server freezes and thaws all the same.
func TestFreezeWhileBackendsEnd(t *testing.T) {
	t.Parallel()
	pg, err := Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pg.Thaw(); _ = pg.Stop(); _ = os.RemoveAll(pg.Dir) })
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				if conn, err := pgx.Connect(ctx, pg.URL); err == nil {
					_ = conn.Close(ctx)
				}
			}
		})
	}
	for range 500 {
		require.NoError(t, pg.Freeze())
		require.NoError(t, pg.Thaw())
	}
	cancel()
	all.Wait()
}

func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	long := time.Now().Add(-time.Hour)
	folder := func(name, pid string, at time.Time) string {
		dir := filepath.Join(os.TempDir(), prefix+name)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o755))
		if pid != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(pid+"\n/data\n"), 0o600))
		}
		require.NoError(t, os.Chtimes(dir, at, at))
		return dir
	}
	left := folder("left", "", long)
	crashed := folder("crashed", "2147483646", long) // above any pid
	living := folder("living", fmt.Sprint(os.Getpid()), long)
	starting := folder("starting", "", time.Now())
	sweep()
	require.NoDirExists(t, left)
	require.NoDirExists(t, crashed)
	require.DirExists(t, living)
	require.DirExists(t, starting)
}
