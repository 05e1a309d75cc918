package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTrySaysWhoHoldsIt: the error names the holder, and a released lock can be taken
// again.
func TestTrySaysWhoHoldsIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path, "builds a program")
	require.NoError(t, err)
	_, err = Try(path, "wants it too")
	held, ok := errors.AsType[*HeldError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, fmt.Sprintf("process %d (builds a program) holds the lock %s", os.Getpid(), path), held.Error())
	require.NoError(t, first.Release())
	second, err := Try(path, "wants it too")
	require.NoError(t, err)
	require.NoError(t, second.Release())
}

// TestHolderWithoutNote: an older program, which writes no note, holds the lock.
func TestHolderWithoutNote(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path, "builds a program")
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 0))
	_, err = Try(path, "wants it too")
	assert.ErrorContains(t, err, "another process holds the lock "+path)
	require.NoError(t, first.Release())
}

// TestWait: a wait reports the holder once, and ends with the lock or with its context.
func TestWait(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path, "builds a program")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	_, err = Wait(ctx, path, "wants it too", func(*HeldError) { told++; cancel() })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, told)
	second, err := Wait(t.Context(), path, "wants it too", func(*HeldError) { assert.NoError(t, first.Release()) })
	require.NoError(t, err)
	require.NoError(t, second.Release())
}

// TestNoSuchFolder: a missing folder is an error of its own, not a held lock.
func TestNoSuchFolder(t *testing.T) {
	t.Parallel()
	_, err := Try(filepath.Join(t.TempDir(), "none", "lock"), "")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Wait(t.Context(), filepath.Join(t.TempDir(), "none", "lock"), "", func(*HeldError) { t.Error("nobody holds it") })
	require.ErrorIs(t, err, os.ErrNotExist)
}
