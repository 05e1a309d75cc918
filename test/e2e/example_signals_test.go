package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// typescript installs and compiles the TypeScript example once, in a copy.
var typescript = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "perennial-typescript-")
	if err != nil {
		return "", err
	}
	source := "../../examples/signals/typescript"
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "signals.ts", ".npmrc"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"npm", "ci", "--no-progress"}, {"node_modules/.bin/tsc"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", &perennial.Error{Code: perennial.CodeInternal, Message: string(out), Err: err}
		}
	}
	return filepath.Join(dir, "signals.js"), nil
})

// TestExampleSignals: programs that have nothing but Temporal's own tools find a running
// workflow, start one that was terminated, and are told why a connection is not refreshed.
func TestExampleSignals(t *testing.T) {
	t.Parallel()
	programs := map[string]func(t *testing.T, id, queue string) *exec.Cmd{
		"go": func(t *testing.T, id, queue string) *exec.Cmd {
			dir, err := built()
			require.NoError(t, err)
			return exec.Command(filepath.Join(dir, "signals"), "-queue", queue, id)
		},
		"command line": func(t *testing.T, id, queue string) *exec.Cmd {
			binary, err := devserver.Path(t.Context(), os.Stderr)
			require.NoError(t, err)
			path := t.TempDir() // where it has its own name
			require.NoError(t, os.Symlink(binary, filepath.Join(path, "temporal")))
			cmd := exec.Command("bash", "../../examples/signals/signals.sh", id, queue)
			cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"))
			return cmd
		},
		"typescript": func(t *testing.T, id, queue string) *exec.Cmd {
			script, err := typescript()
			require.NoError(t, err)
			return exec.Command("node", script, id, queue)
		},
	}
	for name, program := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, setting{})
			s.work()
			c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
			say := func() string {
				cmd := program(t, c.ID, s.deps.Config.TaskQueue)
				if cmd.Env == nil {
					cmd.Env = os.Environ()
				}
				cmd.Env = append(cmd.Env, "TEMPORAL_ADDRESS="+s.address)
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				return string(out)
			}
			assert.Equal(t, "status active, generation 1\nrefresh refreshed, generation 2\n", say())

			require.NoError(t, s.client.TerminateWorkflow(t.Context(), workflows.ID(c.ID), "", "by hand"))
			assert.Equal(t, "status active, generation 2\nrefresh refreshed, generation 3\n", say())
			assert.Equal(t, 2, s.oracle("a1").Refreshes)

			require.NoError(t, s.provider.Revoke(clientID, "a1"))
			s.until(c.ID, "the refusal is confirmed", func(c perennial.Connection) bool {
				_, _ = s.updates.RefreshNow(t.Context(), c.ID, workflows.NewerThan(c))
				return c.Status == perennial.StatusReconnectRequired
			})
			out := say()
			assert.Contains(t, out, "status reconnect_required, generation 3\nnot refreshed: ")
			assert.Contains(t, out, "reconnect_required", strings.TrimSpace(out))
		})
	}
}

// TestSignalsOfEndedConnection: a signal of another name does nothing, and neither revives
// a disconnected connection: a plain one finds no workflow, and one with a start leads to
// a run that reads the row and ends.
func TestSignalsOfEndedConnection(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	require.NoError(t, s.client.SignalWorkflow(t.Context(), workflows.ID(c.ID), "", "disconect", nil), "Temporal takes any name")
	require.NoError(t, s.client.SignalWorkflow(t.Context(), workflows.ID(c.ID), "", workflows.SignalDisconnect, nil))
	s.eventually("both signals are read", func() bool { return s.signalled(c.ID, workflows.SignalDisconnect) && s.asleep(c.ID) })
	require.Equal(t, perennial.StatusActive, s.get(c.ID).Status, "a signal changes no row")

	_, err := s.service.Disconnect(t.Context(), perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	s.eventually("its workflow ends", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })
	err = s.client.SignalWorkflow(t.Context(), workflows.ID(c.ID), "", workflows.SignalNudge, nil)
	var missing *serviceerror.NotFound
	require.ErrorAs(t, err, &missing)

	run, err := s.client.SignalWithStartWorkflow(t.Context(), workflows.ID(c.ID), workflows.SignalNudge, nil,
		client.StartWorkflowOptions{TaskQueue: s.deps.Config.TaskQueue}, workflows.ConnectionWorkflow, map[string]any{"connection_id": c.ID, "revision": 1})
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	assert.Equal(t, perennial.StatusDisconnected, s.get(c.ID).Status)
	assert.Equal(t, perennial.StatusDisconnected, s.workflowStatus(c.ID))
}
