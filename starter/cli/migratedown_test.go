package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/schema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMigrateDownAsks: migrate --down first says what will be lost, and reverts nothing
// without a confirmation.
func TestMigrateDownAsks(t *testing.T) {
	t.Parallel()
	file, environ, _ := prepared(t)
	d := databaseOf(t, file)
	down := func(terminal bool, in string, args ...string) (int, string, error) {
		var out bytes.Buffer
		cmd := newCommand(&shell{environ: environ, in: strings.NewReader(in), out: &out, errOut: &out, isTerminal: func(io.Reader) bool { return terminal }})
		cmd.SetArgs(append(append([]string{"migrate"}, args...), "--config", file))
		err := cmd.ExecuteContext(t.Context())
		return program.ExitCode(err), out.String(), err
	}
	version := func() int64 {
		m, err := d.NewestMigration(t.Context())
		require.NoError(t, err)
		return m.Version
	}
	for _, tc := range []struct {
		name     string
		terminal bool
		in       string
		code     int
		says     string
	}{
		{"no terminal", false, "", program.ExitUsage, "--yes"},
		{"no terminal, yes on standard input", false, "yes\n", program.ExitUsage, "--yes"},
		{"no", true, "no\n", program.ExitOther, "nothing was changed"},
		{"enter", true, "\n", program.ExitOther, "nothing was changed"},
		{"y", true, "y\n", program.ExitOther, "nothing was changed"},
		{"end of input", true, "", program.ExitOther, "nothing was changed"},
	} {
		code, out, err := down(tc.terminal, tc.in, "--down")
		assert.Equal(t, tc.code, code, tc.name)
		assert.ErrorContains(t, err, tc.says, tc.name)
		assert.Contains(t, out, fmt.Sprintf("Reverting migration %d (", schema.Version), tc.name)
		assert.Equal(t, schema.Version, version(), tc.name)
	}
	code, _, err := down(false, "", "--yes")
	assert.Equal(t, program.ExitUsage, code)
	assert.ErrorContains(t, err, "--down")

	_, _, err = down(true, "yes\n", "--down")
	require.NoError(t, err)
	require.Less(t, version(), schema.Version)
	for version() > 1 {
		at := version()
		_, out, err := down(false, "", "--down", "--yes")
		require.NoError(t, err, out)
		require.Equal(t, at-1, version())
		if at == 6 {
			assert.Contains(t, out, "the table connect_sessions")
		}
	}
	_, out, err := down(false, "", "--down", "--yes")
	require.NoError(t, err, out)
	assert.Contains(t, out, "the table connections, every stored token with it")
	code, _, err = down(false, "", "--down", "--yes")
	assert.Equal(t, program.ExitRefused, code)
	assert.ErrorContains(t, err, "nothing to take back")
}
