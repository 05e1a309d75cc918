package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReleaseBase: the file names a commit of this repository's history.
func TestReleaseBase(t *testing.T) {
	t.Parallel()
	commit, err := releaseBase(t.Context(), "../..")
	require.NoError(t, err)
	kind, err := git(t.Context(), "../..", "cat-file", "-t", commit)
	require.NoError(t, err)
	require.Equal(t, "commit", kind)
}

// TestReleaseBaseRefused: if the previous release cannot be built, the error says what
// to do.
func TestReleaseBaseRefused(t *testing.T) {
	t.Parallel()
	run := func(dir string, args ...string) string {
		out, err := git(t.Context(), dir, append([]string{"-c", "user.name=n", "-c", "user.email=n@example.com"}, args...)...)
		require.NoError(t, err)
		return out
	}
	names := func(dir, commit string) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, baseFile), []byte(commit+"\n"), 0o600))
		return dir
	}
	whole := t.TempDir()
	run(whole, "init", "--initial-branch", "main")
	run(whole, "commit", "--allow-empty", "--message", "first")
	first := run(whole, "rev-parse", "HEAD")
	run(whole, "checkout", "--quiet", "-b", "side")
	run(whole, "commit", "--allow-empty", "--message", "beside")
	side := run(whole, "rev-parse", "HEAD")
	run(whole, "checkout", "--quiet", "main")
	run(whole, "commit", "--allow-empty", "--message", "second")
	shallow := filepath.Join(t.TempDir(), "shallow")
	run(whole, "clone", "--quiet", "--depth", "1", "--branch", "main", "file://"+whole, shallow)

	commit, err := releaseBase(t.Context(), names(whole, first))
	require.NoError(t, err)
	require.Equal(t, first, commit)
	for says, dir := range map[string]func() string{
		"run the suite in the repository's root": func() string { return t.TempDir() },
		"40 hexadecimal digits":                  func() string { return names(whole, "main") },
		"git fetch --unshallow":                  func() string { return names(shallow, first) },
		"clone the repository":                   func() string { return names(t.TempDir(), first) },
		"not in the history of HEAD":             func() string { return names(whole, side) },
	} {
		_, err := releaseBase(t.Context(), dir())
		require.ErrorContains(t, err, says)
	}
}

// TestBesideOld: each fault in besideOld is one of this suite's, and none needs a seam,
// because the worker of the previous release has none.
func TestBesideOld(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, besideOld)
	for _, name := range besideOld {
		i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
		require.NotEqual(t, -1, i, name)
		require.False(t, faults[i].seams, name)
	}
}
