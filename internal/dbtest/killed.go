package dbtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/stretchr/testify/require"
)

// The environment of a process that [Killed] starts: the database, and the number of
// the statement after which the process kills itself.
const (
	killedURL = "PERENNIAL_TEST_KILLED_URL"
	killedAt  = "PERENNIAL_TEST_KILLED_AT"
)

// Change is a change of the database that must happen whole or not at all.
type Change struct {
	// Prepare brings a new database into the state before the change.
	Prepare func(t *testing.T, d *Database)
	// Do makes the change, in the process that is killed.
	Do func(ctx context.Context, d *db.DB) error
	// State has queries that together show the whole change, and nothing that differs
	// from run to run.
	State []string
}

// Killed makes the change in a process that is killed after its first statement, then
// in one that is killed after its second, and so on until one comes to its end. It does
// so on a database of each kind. After each kill the state must be the one before, or
// the one that the whole change leaves. Call it once in a test, whose name must suit a
// file.
func Killed(t *testing.T, c Change) {
	t.Helper()
	if url := os.Getenv(killedURL); url != "" {
		doAndDie(t, url, c.Do)
		return
	}
	for name, at := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := New(t, at(t))
			c.Prepare(t, whole)
			before := whole.state(t, c.State)
			require.False(t, whole.diesAfter(t, 1_000))
			after := whole.state(t, c.State)
			require.NotEqual(t, before, after, "the change changes something")

			d := New(t, at(t))
			c.Prepare(t, d)
			statements := 0
			for d.state(t, c.State) == before && d.diesAfter(t, statements+1) {
				statements++
				if state := d.state(t, c.State); state != before {
					require.Equal(t, after, state, "killed after statement %d", statements)
				}
			}
			require.Equal(t, after, d.state(t, c.State), "after %d statements", statements)
			require.Greater(t, statements, 1, "nothing was killed between two statements")
		})
	}
}

// diesAfter runs the test's change in another process that kills itself after its nth
// statement. It reports whether the process died of that.
func (d *Database) diesAfter(t *testing.T, n int) bool {
	t.Helper()
	var path []string
	for part := range strings.SplitSeq(t.Name()[:strings.LastIndexByte(t.Name(), '/')], "/") {
		path = append(path, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", strings.Join(path, "/"), "-test.count=1", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), killedURL+"="+d.URL, killedAt+"="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)
	return true
}

func doAndDie(t *testing.T, url string, do func(context.Context, *db.DB) error) {
	t.Helper()
	last, err := strconv.Atoi(os.Getenv(killedAt))
	require.NoError(t, err)
	d := (&Database{URL: url}).Open(t)
	n := 0
	OnStatement(t, d, func(string, string) {
		if n++; n == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal arrives
		}
	})
	require.NoError(t, do(t.Context(), d))
}

// state returns the rows of queries as text.
func (d *Database) state(t *testing.T, queries []string) string {
	t.Helper()
	foreign := d.Foreign(t)
	defer foreign.Close()
	var all strings.Builder
	for _, query := range queries {
		fmt.Fprintln(&all, query)
		rows, err := foreign.QueryContext(t.Context(), query)
		require.NoError(t, err)
		names, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			values, into := make([]any, len(names)), make([]any, len(names))
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(t, rows.Scan(into...))
			fmt.Fprintln(&all, values...)
		}
		require.NoError(t, rows.Err())
		require.NoError(t, rows.Close())
	}
	return all.String()
}
