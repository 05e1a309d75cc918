package store

import (
	"errors"
	"io/fs"
	"os"

	"github.com/perennial-oauth/perennial"
)

// tightenSQLite makes the file of a new database, so that no other user can read
// it: SQLite would make it as the umask says. Its journals get the mode of the
// file. Those of a database that an older release made are made tight too.
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
