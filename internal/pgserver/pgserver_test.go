package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
