package spool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWriterHoldsItsFile: while a process writes a set, no other names it.
func TestWriterHoldsItsFile(t *testing.T) {
	// It runs alone: between fork and exec, a child of another test holds a copy of the lock.
	dir := t.TempDir()
	s, err := Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(store.SaveRequest{ID: "con_1", AttemptID: "a", Generation: 1, NewGeneration: 2}))
	found, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	require.NoError(t, err)
	require.Len(t, found, 1)
	whole, err := os.ReadFile(found[0])
	require.NoError(t, err)
	require.NoError(t, os.Remove(found[0]))
	other, err := Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.write(unnamed+"*", whole, func(path string) error {
		sets, err := other.List()
		require.NoError(t, err)
		assert.Empty(t, sets)
		assert.FileExists(t, path)
		return nil
	}))
	sets, err := other.List() // it ended without naming its set
	require.NoError(t, err)
	assert.Len(t, sets, 1)
}
