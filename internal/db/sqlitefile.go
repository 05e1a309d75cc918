package db

import (
	"errors"
	"io/fs"
	"os"

	"github.com/perennial-oauth/perennial"
)

// tightenSQLite creates the file of a new database with a mode that keeps other users
// from reading it; SQLite itself would use the umask. Its journals get the mode of the
// file. It also tightens the files of a database from an older release.
func tightenSQLite(path string) error {
	if path == ":memory:" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return perennial.Errorf(perennial.CodeUnavailable, "open the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return perennial.Errorf(perennial.CodeUnavailable, "open the database: %w", err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(name, 0o600)
		}
		if err != nil {
			return perennial.Errorf(perennial.CodeInvalid, "other users can read the database, and that cannot be changed: run `chmod 600` on its files as their owner: %w", err)
		}
	}
	return nil
}
