package spool_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// litter puts files into dir that are no token sets, under every kind of name.
func litter(t *testing.T, dir string) {
	t.Helper()
	for i, name := range []string{hex.EncodeToString([]byte("con_2")) + ".1.61.sealed", ".new-1", "x.corrupt", "x.set-aside", ".probe-1", "y.sealed"} {
		path := func(kind string) string { return filepath.Join(dir, kind+name) }
		if i == 0 { // the name of a true set, once for each kind
			path = func(kind string) string {
				return filepath.Join(dir, hex.EncodeToString([]byte("con_2"))+".1."+hex.EncodeToString([]byte(kind))+".sealed")
			}
		}
		require.NoError(t, syscall.Mkfifo(path("fifo"), 0o600))
		require.NoError(t, os.Mkdir(path("folder"), 0o700))
		require.NoError(t, os.Symlink("/dev/zero", path("device")))
		require.NoError(t, os.Symlink(path("fifo"), path("link")))
		socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		require.NoError(t, err)
		t.Chdir(dir) // a socket's path must be short
		require.NoError(t, syscall.Bind(socket, &syscall.SockaddrUnix{Name: filepath.Base(path("socket"))}))
		require.NoError(t, syscall.Close(socket))
		huge, err := os.Create(path("huge"))
		require.NoError(t, err)
		require.NoError(t, huge.Truncate(1<<40))
		require.NoError(t, huge.Close())
		require.NoError(t, os.WriteFile(path("unreadable"), []byte("x"), 0o000))
	}
}

// within fails the test if do takes longer than a reader of a huge file or a pipe would
// be noticed by.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// TestOddFiles: nothing waits for an odd file in the spool, and the sets beside it
// are read, found, added and dropped.
func TestOddFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[prod] *?") // no pattern
	s, err := spool.Open(dir, 1000)
	require.NoError(t, err)
	litter(t, dir)
	require.NoError(t, s.Add(request("con_1")))
	for range 2 {
		within(t, "List", func() {
			sets, _ := s.List()
			assert.Equal(t, []store.SaveRequest{request("con_1")}, sets)
		})
	}
	within(t, "Has", func() {
		holds, err := s.Has("con_1", 1)
		assert.NoError(t, err)
		assert.True(t, holds)
		_, err = s.Has("con_2", 1)
		assert.Equal(t, perennial.CodeSealed, perennial.CodeOf(err), "a file with the name of a true set, too long to be read, may be one")
		holds, err = s.Has("con_3", 1)
		assert.NoError(t, err)
		assert.False(t, holds)
	})
	within(t, "Count", func() { _, _, err := s.Count(); assert.NoError(t, err) })
	within(t, "Open", func() { _, err := spool.Open(dir, 1000); assert.NoError(t, err) })
	require.NoError(t, s.Drop(request("con_1")))
	holds, err := s.Has("con_1", 1)
	require.NoError(t, err)
	assert.False(t, holds)
}

// TestFolderInTheWay: a folder with the name of a set gives way.
func TestFolderInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, s.Add(request("con_1")))
	files, err := filepath.Glob(filepath.Join(dir, "*.sealed"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(files[0]))
	require.NoError(t, os.MkdirAll(filepath.Join(files[0], "full"), 0o700))
	require.NoError(t, s.Add(request("con_1")))
	sets, err := s.List()
	require.NoError(t, err)
	assert.Len(t, sets, 1)
}

// TestSpoolThatCannotBeRead is an error, and never an empty spool.
func TestSpoolThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, syscall.Mkfifo(dir, 0o600))
	within(t, "a pipe in place of the folder", func() {
		_, err := s.Has("con_1", 1)
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
		_, err = s.List()
		assert.Error(t, err)
		assert.Error(t, s.Add(request("con_1")))
		_, _, err = s.Count()
		assert.Error(t, err)
	})
}
