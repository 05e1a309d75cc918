package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPrivate: a spool that others could write into is not used; one that others
// could look into is made tight.
func TestPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := spool.Open(dir, 0)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.ErrorContains(t, err, "chmod 700 "+dir)
	_, err = spool.Open(filepath.Join(dir, "sets"), 0)
	require.ErrorContains(t, err, "in its place")

	require.NoError(t, os.Chmod(dir, 0o755))
	_, err = spool.Open(dir, 0)
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}
