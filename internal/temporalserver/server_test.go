package temporalserver

import (
	"os"
	"testing"

	"github.com/perennial-oauth/perennial/internal/pgserver"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// TestServer starts a server, prepares its namespace as `perennial setup` does, kills
// the server and starts it again.
func TestServer(t *testing.T) {
	pg, err := pgserver.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pg.Stop()) })
	s, err := Start(t.Context(), pg, t.TempDir(), 16, os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Kill()) })
	for range 2 {
		c, err := client.DialContext(t.Context(), client.Options{HostPort: s.Address, Logger: quiet{}})
		require.NoError(t, err)
		_, err = workflows.Setup(t.Context(), c, "default")
		require.NoError(t, err)
		_, err = workflows.SetupSweep(t.Context(), c, "test", workflows.Sweep{})
		require.NoError(t, err)
		c.Close()
		require.NoError(t, s.Kill())
		require.NoError(t, s.Run(t.Context()))
	}
}
