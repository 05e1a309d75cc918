package private_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/private"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// folder creates a folder with a mode, whatever the umask.
func folder(t *testing.T, mode fs.FileMode, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.Chmod(dir, mode))
	return dir
}

func secret(t *testing.T, mode fs.FileMode, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(path, []byte("planted"), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func refused(t *testing.T, err error, says string, about any) {
	t.Helper()
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "%v: %v", about, err)
	assert.ErrorContains(t, err, says, "%v", about)
}

// No process of a test has this group or this user.
const foreignGroup, foreignUser = 54321, 54322

func TestCheckFile(t *testing.T) {
	t.Parallel()
	for mode, fine := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o440: true, 0o644: false, 0o604: false, 0o602: false, 0o666: false, 0o444: false, 0o601: false} {
		path := secret(t, mode, folder(t, 0o700, t.TempDir(), "in"))
		link := filepath.Join(t.TempDir(), "link")
		require.NoError(t, os.Symlink(path, link))
		for _, at := range []string{path, link} {
			if err := private.CheckFile("the secret", at); fine {
				assert.NoError(t, err, "%04o", mode)
			} else {
				refused(t, err, "chmod 600", mode)
			}
		}
	}
	refused(t, private.CheckFile("the secret", secret(t, 0o600, folder(t, 0o777, t.TempDir(), "open"))), "in its place", "a folder that others write into")
	assert.ErrorIs(t, private.CheckFile("the secret", filepath.Join(t.TempDir(), "none")), fs.ErrNotExist)
}

func TestCheckDir(t *testing.T) {
	t.Parallel()
	for mode, fine := range map[fs.FileMode]bool{0o700: true, 0o750: true, 0o755: true, 0o770: true, 0o777: false, 0o702: false, 0o777 | fs.ModeSticky: false} {
		dir := folder(t, mode, t.TempDir(), "dir")
		if err := private.CheckDir("the folder", dir); fine {
			assert.NoError(t, err, "%v", mode)
		} else {
			refused(t, err, "chmod 700", mode)
		}
	}
	open := folder(t, 0o777, t.TempDir(), "open")
	refused(t, private.CheckDir("the folder", folder(t, 0o700, open, "a")), "in its place", "a parent that others write into")
	refused(t, private.CheckDir("the folder", folder(t, 0o700, open, "b", "c")), "in its place", "one further up")
	sticky := folder(t, 0o777|fs.ModeSticky, t.TempDir(), "sticky")
	assert.NoError(t, private.CheckDir("the folder", folder(t, 0o700, sticky, "a")), "a parent as /tmp")

	// Others can point the first link wherever they want. They cannot change the
	// second, but it leads to a folder that they can change.
	tight := folder(t, 0o700, t.TempDir(), "tight")
	require.NoError(t, os.Symlink(tight, filepath.Join(open, "link")))
	refused(t, private.CheckDir("the folder", filepath.Join(open, "link")), "in its place", "a link in such a folder")
	inside := folder(t, 0o700, open, "inside")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(inside, link))
	refused(t, private.CheckDir("the folder", link), "in its place", "a link into such a folder")
	assert.ErrorIs(t, private.CheckDir("the folder", filepath.Join(t.TempDir(), "none")), fs.ErrNotExist)
}

func TestMakeDir(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	made := filepath.Join(parent, "a", "b")
	require.NoError(t, private.MakeDir("the folder", made))
	read := folder(t, 0o755, parent, "read")
	require.NoError(t, private.MakeDir("the folder", read))
	for _, dir := range []string{made, filepath.Dir(made), read} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), dir)
	}
	refused(t, private.MakeDir("the folder", folder(t, 0o777, parent, "open")), "chmod 700", "one that others could write into: what is in it may be theirs")
}

// TestOthers needs root, to create files of other users and groups.
func TestOthers(t *testing.T) {
	t.Parallel()
	dir := folder(t, 0o700, t.TempDir(), "dir")
	path := secret(t, 0o640, folder(t, 0o700, t.TempDir(), "in"))
	if os.Geteuid() != 0 { // only root can give files away, and then the files may not change
		require.Error(t, os.Chown(dir, foreignUser, -1))
		return
	}
	require.NoError(t, os.Chown(path, -1, foreignGroup))
	refused(t, private.CheckFile("the secret", path), "chmod 600", "a group that is not ours")
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, private.CheckFile("the secret", path))
	require.NoError(t, os.Chown(path, foreignUser, -1))
	refused(t, private.CheckFile("the secret", path), "another user", "a file of another user")
	require.NoError(t, os.Chmod(dir, 0o770))
	require.NoError(t, os.Chown(dir, -1, foreignGroup))
	refused(t, private.CheckDir("the folder", dir), "chmod 700", "a group that is not ours")
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, os.Chown(dir, foreignUser, -1))
	refused(t, private.CheckDir("the folder", dir), "another user", "a folder of another user")
}
