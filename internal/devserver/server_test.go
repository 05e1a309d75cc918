package devserver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fake returns the options of a server that is a shell script. The script runs body in
// the folder of its database.
func fake(t *testing.T, body string) Options {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "temporal")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	dir := t.TempDir()
	return Options{Binary: binary, Database: filepath.Join(dir, "temporal.db"), Log: filepath.Join(dir, "temporal.log")}
}

// TestServerThatEnds: a server that ends is an error at once, with its last output.
func TestServerThatEnds(t *testing.T) {
	t.Parallel()
	o := fake(t, "echo the port is taken >&2; exit 3")
	require.NoError(t, os.WriteFile(o.Log, []byte("of an earlier run\n"), 0o600))
	_, err := Start(t.Context(), o)
	require.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
	require.EqualError(t, err, "the Temporal server ended at its start (exit status 3); its output is in "+o.Log+" and ends with:\nthe port is taken")
}

// TestPortIsTaken: if another process takes the free port that was found, another one is
// looked for. A port that the caller names stays.
func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	for named, tries := range map[int]int{0: 3, 7233: 1} {
		o := fake(t, "echo tried >>tries; echo listen: bind: address already in use >&2; exit 1")
		o.Port, o.UIPort = named, named
		_, err := Start(t.Context(), o)
		require.ErrorContains(t, err, "address already in use")
		tried, err := os.ReadFile(filepath.Join(filepath.Dir(o.Database), "tries"))
		require.NoError(t, err)
		assert.Equal(t, tries, strings.Count(string(tried), "tried"))
	}
}

// TestStartThatIsEnded: a start that ctx ends is not reported as a timeout. Start then
// deletes a database that it began to create, because the schema may be partial, and
// keeps one that existed before.
func TestStartThatIsEnded(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		o := fake(t, "echo half >>temporal.db; echo half >>temporal.db-wal; >made; exec /bin/sleep 600")
		if old {
			require.NoError(t, os.WriteFile(o.Database, []byte("old "), 0o600))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := Start(ctx, o)
			ended <- err
		}()
		require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(filepath.Dir(o.Database), "made")); return err == nil }, 30*time.Second, 5*time.Millisecond)
		cancel()
		err := <-ended
		require.ErrorIs(t, err, context.Canceled)
		assert.NotContains(t, err.Error(), startTimeout.String())
		left, err := filepath.Glob(o.Database + "*")
		require.NoError(t, err)
		assert.Equal(t, old, len(left) == 2, "%v", left)
		assert.Equal(t, !old, len(left) == 0, "%v", left)
	}
}

// TestNoProgram: the error names the file that cannot be run.
func TestNoProgram(t *testing.T) {
	t.Parallel()
	o := fake(t, "")
	require.NoError(t, os.WriteFile(o.Binary, []byte("\x7fELF"), 0o755))
	_, err := Start(t.Context(), o)
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.ErrorContains(t, err, o.Binary+" does not start")
}
