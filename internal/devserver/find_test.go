package devserver

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for out, want := range map[string][3]int{
		"temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)": {1, 5, 1},
		"temporal version 1.10.0":                           {1, 10, 0},
	} {
		v, ok := parseVersion(out)
		assert.True(t, ok)
		assert.Equal(t, want, v)
	}
	_, ok := parseVersion("no such thing")
	assert.False(t, ok)
	assert.True(t, before([3]int{1, 2, 9}, oldest))
	assert.False(t, before([3]int{1, 3, 0}, oldest))
	assert.False(t, before([3]int{2, 0, 0}, oldest))
}

// TestBuildFailureSaysWhy runs a go command that fails.
func TestBuildFailureSaysWhy(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\necho the module cannot be reached >&2\nexit 1\n"), 0o755))
	t.Setenv("PATH", bin)
	t.Setenv("PERENNIAL_CACHE_DIR", t.TempDir())
	_, err := Path(context.Background(), io.Discard)
	assert.ErrorContains(t, err, "the module cannot be reached")
}

// TestOldReleaseOnPathIsLeftAlone puts an old temporal on PATH and the pinned one into
// the cache.
func TestOldReleaseOnPathIsLeftAlone(t *testing.T) {
	bin, cache := t.TempDir(), t.TempDir()
	for path, version := range map[string]string{filepath.Join(bin, "temporal"): "1.2.0", filepath.Join(cache, "temporal-"+Version): "1.5.1"} {
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho temporal version "+version+"\n"), 0o755))
	}
	t.Setenv("PATH", bin)
	t.Setenv("PERENNIAL_CACHE_DIR", cache)
	path, err := Path(context.Background(), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(cache, "temporal-"+Version), path)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "temporal"), []byte("#!/bin/sh\necho temporal version 1.6.0\n"), 0o755))
	path, err = Path(context.Background(), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(bin, "temporal"), path)
}
