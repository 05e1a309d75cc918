package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
)

// commandLine builds the command line once.
var commandLine = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "perennial-starter")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "perennial")
	out, err := exec.Command("go", "build", "-o", path, "../../starter").CombinedOutput()
	if err != nil {
		return "", &perennial.Error{Code: perennial.CodeInternal, Message: string(out), Err: err}
	}
	return path, nil
})

// run runs a command of the command line, and returns what it printed and its exit code.
func (s *stack) run(args ...string) (out string, exit int) {
	s.Helper()
	path, err := commandLine()
	require.NoError(s, err)
	cmd := exec.CommandContext(context.Background(), path, append([]string{"--config", s.path}, args...)...)
	cmd.Env = append(os.Environ(), s.environ()...)
	printed, _ := cmd.CombinedOutput() // the exit code says what the error would
	s.Logf("perennial %v: %s", args, printed)
	return string(printed), cmd.ProcessState.ExitCode()
}

// TestRefreshNow: an operator ends a backoff of our own, and not a wait that the provider
// asked for.
func TestRefreshNow(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	ours := s.connect("ours", fakeprovider.Knobs{Rotate: true})
	theirs := s.connect("theirs", fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true, RateLimited: 1, RetryAfter: "3600"})
	_, err := s.deps.DB.SQL.Exec("UPDATE connections SET failure_count = 9, next_attempt_at = clock_timestamp() + interval '1 hour', backoff_until = clock_timestamp() + interval '1 hour' WHERE id = $1", ours.ID)
	require.NoError(t, err)
	_, err = s.deps.DB.SQL.Exec("UPDATE connections SET next_attempt_at = backoff_until WHERE id = $1", ours.ID)
	require.NoError(t, err)
	s.work()
	for _, id := range []string{ours.ID, theirs.ID} {
		s.until(id, "waits", func(c perennial.Connection) bool { return c.WaitsUntil(c.UpdatedAt).After(c.UpdatedAt) })
		s.eventually("it sleeps", func() bool { return s.asleep(id) })
	}
	out, exit := s.run("refresh", ours.ID)
	require.Equal(t, program.ExitUnavailable, exit)
	require.Contains(t, out, "--now")
	out, exit = s.run("refresh", "--now", theirs.ID)
	require.Equal(t, program.ExitUnavailable, exit)
	require.Contains(t, out, "its provider asked for this wait")
	require.Contains(t, out, s.get(theirs.ID).NextAttemptAt.Format("2006-01-02T15:04"))
	require.EqualValues(t, 1, s.get(theirs.ID).Generation)

	out, exit = s.run("refresh", "--now", ours.ID)
	require.Zero(t, exit)
	require.Contains(t, out, "generation 2")
	require.Equal(t, perennial.HealthHealthy, s.get(ours.ID).Health)
	require.True(t, s.signalled(ours.ID, workflows.SignalNudge))
	s.replayAll(ours.ID, "refresh-now")
}

// TestStopAndStart: nothing of a stopped app reaches its provider, pooled connections
// included, also on request; after a start everything goes on.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	for pace, extra := range map[string]string{"own": "", "pooled": ", pace: pooled, pacers: 1"} {
		t.Run(pace, func(t *testing.T) {
			s := setup(t, setting{class: perennial.ReplaySingleUse, extra: extra})
			var ids []string
			for i := range 4 {
				ids = append(ids, s.connect(fmt.Sprint(i), fakeprovider.Knobs{Lifetimes: []float64{4}, Rotate: true}).ID)
			}
			out, exit := s.run("app", "stop", "app")
			require.Zero(t, exit, out)
			s.work()
			for _, id := range ids {
				s.until(id, "it waits", func(c perennial.Connection) bool { return !c.QueuedAt.IsZero() || extra != "" })
			}
			out, exit = s.run("refresh", "--now", ids[0])
			require.Equal(t, program.ExitUnavailable, exit, out)
			require.Contains(t, out, "stopped")
			out, exit = s.run("app", "show", "app")
			require.Zero(t, exit)
			require.Contains(t, out, "perennial app start")
			for i, id := range ids {
				require.EqualValues(t, 1, s.get(id).Generation)
				require.Zero(t, s.oracle(fmt.Sprint(i)).Refreshes)
			}
			out, exit = s.run("app", "start", "app")
			require.Zero(t, exit, out)
			for _, id := range ids {
				s.until(id, "it goes on", generation(2))
			}
			s.eventually("all have gone", func() bool { return !s.circuit().Open })
		})
	}
}
