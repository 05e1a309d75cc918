package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// TestGoldenFile: the name and the content of a file in the spool, which the next
// version of the program has to read.
func TestGoldenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(fill.Of[store.SaveRequest]()))
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	var text string
	for _, path := range files {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		text += filepath.Base(path) + "\n" + string(raw) + "\n"
	}
	golden.Text(t, "file.txt", text)
}
