package dev

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/child"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRestore: dev accepts an empty state, and one with unknown members.
func TestRestore(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"", "null", "{}", `{"consents": null, "server_port": 99999}`} {
		s := &stack{dir: t.TempDir()}
		if state != "" {
			require.NoError(t, os.WriteFile(s.path("dev.json"), []byte(state), 0o600))
		}
		require.NoError(t, s.restore())
		require.NoError(t, s.findPort(&s.saved.ServerPort), "any port, if the old one cannot be had")
	}
}

// TestProcessThatEnded: the error says how and why a worker or a server ended.
func TestProcessThatEnded(t *testing.T) {
	t.Parallel()
	s := &stack{dir: t.TempDir()}
	log, err := child.OpenLog(s.path("server.log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command("sh", "-c", "read line; echo the port is taken >&2; exit 1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Stderr = log.File
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done, err := child.Start(cmd)
	require.NoError(t, err)
	p := &process{"server", cmd, done, log}
	require.NoError(t, p.ended())
	require.NoError(t, in.Close())
	<-done
	assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(p.ended()))
	assert.EqualError(t, p.ended(), "the server ended at its start (exit status 1); its output is in "+s.path("server.log")+" and ends with:\nthe port is taken")
	require.NoError(t, p.stop(t.Context()))
}
