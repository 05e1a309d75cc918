package cli

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHealthcheckAsksWhereItListens: the file, the variables and --server choose the
// address. healthcheck uses loopback if the process listens on all addresses.
func TestHealthcheckAsksWhereItListens(t *testing.T) {
	t.Parallel()
	answering := func(text string) (port string) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				w.WriteHeader(http.StatusNotFound)
			}
			fmt.Fprintln(w, text)
		}))
		t.Cleanup(s.Close)
		_, port, err := net.SplitHostPort(s.Listener.Addr().String())
		require.NoError(t, err)
		return port
	}
	worker, server := answering("I am the worker"), answering("I am the server")
	dir := t.TempDir()
	file := func(listen, health string) string {
		path := filepath.Join(dir, "perennial.yaml")
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "listen: %q\nserver: {health: %q}\n", listen, health), 0o600))
		return path
	}
	for _, tc := range []struct {
		listen, health string
		env            []string
		args           []string
		code           int
		says           string
	}{
		{listen: "127.0.0.1:" + worker, health: "127.0.0.1:1", says: "I am the worker"},
		{listen: "0.0.0.0:" + worker, health: "127.0.0.1:1", says: "I am the worker"},
		{listen: ":" + worker, health: "127.0.0.1:1", says: "I am the worker"},
		{listen: "127.0.0.1:1", health: ":" + server, args: []string{"--server"}, says: "I am the server"},
		{listen: "127.0.0.1:1", health: ":1", env: []string{"PERENNIAL_LISTEN=127.0.0.1:" + worker}, says: "I am the worker"},
		{listen: "127.0.0.1:1", health: ":1", env: []string{"PERENNIAL_SERVER_HEALTH=127.0.0.1:" + server}, args: []string{"--server"}, says: "I am the server"},
		{listen: "127.0.0.1:1", health: ":1", args: []string{"--url", "http://127.0.0.1:" + server + "/readyz"}, says: "I am the server"},
		{listen: "127.0.0.1:1", health: ":1", code: program.ExitUnavailable, says: "no worker answers"},
		{listen: "127.0.0.1:1", health: "127.0.0.1:1", args: []string{"--server"}, code: program.ExitUnavailable, says: "no server answers"},
		{listen: "127.0.0.1:0", health: ":1", code: program.ExitUsage, says: "--url"},
		{listen: "nowhere", health: ":1", code: program.ExitUsage, says: "listen must be HOST:PORT"},
	} {
		code, out, err := perennialRun(tc.env, "", append([]string{"healthcheck", "--config", file(tc.listen, tc.health)}, tc.args...)...)
		assert.Equal(t, tc.code, code, "%+v: %v", tc, err)
		if err != nil {
			out = err.Error()
		}
		assert.Contains(t, out, tc.says, "%+v", tc)
	}
	// No file, and none named: a container may have variables only.
	_, out, err := perennialRun([]string{"PERENNIAL_LISTEN=:" + worker}, "", "healthcheck")
	require.NoError(t, err)
	assert.Contains(t, out, "I am the worker")
	code, _, err := perennialRun([]string{"PERENNIAL_LISTEN=:" + worker}, "", "healthcheck", "--config", dir+"/none.yaml")
	assert.Equal(t, program.ExitUsage, code)
	assert.ErrorContains(t, err, "there is no configuration")
}

// TestHealthcheckOnIPv6: for the IPv6 "every address", healthcheck uses ::1.
func TestHealthcheckOnIPv6(t *testing.T) {
	t.Parallel()
	s := &shell{config: "none.yaml", environ: []string{"PERENNIAL_LISTEN=[::]:8081"}}
	url, err := s.healthURL(false, false)
	require.NoError(t, err)
	assert.Equal(t, "http://[::1]:8081/readyz", url)
}
