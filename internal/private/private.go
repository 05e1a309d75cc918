// Package private refuses files and folders of secrets that other users of the
// machine could read or write, as ssh does with its keys.
package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/perennial-oauth/perennial"
)

// CheckFile refuses the file of a secret if other users can read, write or replace it.
// A group of this process may read it, because Kubernetes mounts secrets that way
// (fsGroup). what names the file in the error. The error is of [perennial.CodeInvalid]
// and says which command to run; for a missing file it is of [fs.ErrNotExist]. The path
// may be a link.
func CheckFile(what, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", what, err)
	}
	if err := CheckFileInfo(what, path, info); err != nil {
		return err
	}
	return checkPlace(what, path)
}

// CheckFileInfo is the part of [CheckFile] that concerns the file itself. It is for an
// open file.
func CheckFileInfo(what, path string, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	switch {
	case mode&0o007 != 0, mode&0o070 != 0 && !ourGroup(info):
		return perennial.Errorf(perennial.CodeInvalid, "%s (%s, mode %04o) can be read or written by other users: run `chmod 600 %s`; in Kubernetes give its volume defaultMode 0440", what, path, mode, path)
	case !ours(info):
		return perennial.Errorf(perennial.CodeInvalid, "%s (%s) belongs to another user, who can change it: run `chown` so that it is this program's own, or root's", what, path)
	}
	return nil
}

// CheckDir refuses a folder that others can replace or write into. For a missing folder
// the error is of [fs.ErrNotExist].
func CheckDir(what, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", what, err)
	}
	if readOnly(path) { // Kubernetes mounts secrets read-only, in a folder of mode 1777
		return checkPlace(what, path)
	}
	if writable(info) {
		return perennial.Errorf(perennial.CodeInvalid, "%s (%s, mode %04o) can be written by other users: run `chmod 700 %s`", what, path, info.Mode().Perm(), path)
	}
	if !ours(info) {
		return perennial.Errorf(perennial.CodeInvalid, "%s (%s) belongs to another user, who can change it: run `chown` so that it is this program's own", what, path)
	}
	return checkPlace(what, path)
}

// MakeDir creates a missing folder that only this user can read. It checks an existing
// folder as [CheckDir] does, and removes other users' permission to read a folder of
// this user.
func MakeDir(what, path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", what, err)
	}
	if err := CheckDir(what, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 && owner(info) == os.Geteuid() {
		err = os.Chmod(path, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make %s private: %w", what, err)
	}
	return nil
}

// checkPlace refuses a path that others can redirect because they can write into a
// folder above it. In a folder with the sticky bit, such as /tmp, nobody can move
// another user's file.
func checkPlace(what, path string) error {
	given, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("look at %s: %w", what, err)
	}
	real, err := filepath.EvalSymlinks(given)
	if err != nil {
		return fmt.Errorf("look at %s: %w", what, err)
	}
	for _, dir := range append(above(given), above(real)...) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrPermission) { // a folder above this one is closed to us, so we cannot judge it
			continue
		}
		if err != nil {
			return fmt.Errorf("look at the folder of %s: %w", what, err)
		}
		if writable(info) && info.Mode()&fs.ModeSticky == 0 && !readOnly(dir) {
			return perennial.Errorf(perennial.CodeInvalid, "%s (%s) lies in %s (mode %04o), where other users can put something else in its place: run `chmod o-w,g-w %s`, or choose another folder",
				what, path, dir, info.Mode().Perm(), dir)
		}
	}
	return nil
}

// above lists the folders that a path lies in, the nearest first.
func above(path string) (dirs []string) {
	for {
		dir := filepath.Dir(path)
		if dir == path {
			return dirs
		}
		dirs, path = append(dirs, dir), dir
	}
}

// writable reports whether users other than this one and root can write.
func writable(info fs.FileInfo) bool {
	mode := info.Mode().Perm()
	return mode&0o002 != 0 || mode&0o020 != 0 && !ourGroup(info)
}

// owner returns the id of a file's user, -1 if the system has none.
func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

func ours(info fs.FileInfo) bool { uid := owner(info); return uid == os.Geteuid() || uid <= 0 }

// ourGroup reports whether a file's group is root's or one of this process.
func ourGroup(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	groups, err := os.Getgroups()
	return s.Gid == 0 || int(s.Gid) == os.Getegid() || err == nil && slices.Contains(groups, int(s.Gid))
}
