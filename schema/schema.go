// Package schema holds the database's numbered migrations, for PostgreSQL and
// SQLite, and applies them. Each is plain SQL, up and down, and records the
// oldest program that may run on it, so that old and new workers run side by
// side during a deploy.
package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Version is the newest schema that this program knows, and Oldest the oldest
// that it can run on.
const (
	Version int64 = 8
	Oldest  int64 = 6
)

// Dialect is the kind of database.
type Dialect string

// The dialects.
const (
	Postgres Dialect = "postgres"
	SQLite   Dialect = "sqlite"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

func provider(db *sql.DB, d Dialect) (*goose.Provider, error) {
	dir, err := fs.Sub(files, string(d))
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", d, err)
	}
	if d == SQLite {
		return goose.NewProvider(goose.DialectSQLite3, db, dir)
	}
	// Several processes may migrate at once: one does, the others wait.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // each second, for 5 min
	if err != nil {
		return nil, fmt.Errorf("migration lock: %w", err)
	}
	return goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker))
}

// Migrate brings the schema to [Version]. Several processes may do so at once.
// It returns the version before and after.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) (from, to int64, err error) {
	p, err := provider(db, d)
	if err != nil {
		return 0, 0, err
	}
	if from, err = p.GetDBVersion(ctx); err != nil {
		return 0, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return from, from, fmt.Errorf("migrate the schema from version %d: %w", from, err)
	}
	if to, err = p.GetDBVersion(ctx); err != nil {
		return from, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return from, to, nil
}

// Down takes the newest migration back. It loses what only the newer schema
// can hold.
func Down(ctx context.Context, db *sql.DB, d Dialect) error {
	p, err := provider(db, d)
	if err != nil {
		return err
	}
	if _, err := p.Down(ctx); err != nil {
		return fmt.Errorf("take the newest migration back: %w", err)
	}
	return nil
}

// noTable reports whether err says that a table does not exist.
func noTable(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "42P01" // undefined_table
	}
	return strings.Contains(err.Error(), "no such table")
}

// Check refuses a schema outside this program's range with an error of
// [perennial.CodeSchema] that names the command to run. It changes nothing.
func Check(ctx context.Context, db *sql.DB) error {
	version, err := current(ctx, db)
	if err != nil {
		return err
	}
	if version < Oldest {
		return perennial.Errorf(perennial.CodeSchema, "the database schema is at version %d and this program needs %d or later: run `perennial migrate`", version, Oldest)
	}
	if version <= Version {
		return nil
	}
	var oldest sql.NullInt64
	if err := db.QueryRowContext(ctx, `SELECT max(oldest_program) FROM schema_programs`).Scan(&oldest); err != nil {
		return fmt.Errorf("read which programs the schema allows: %w", err)
	}
	if oldest.Int64 > Version {
		return perennial.Errorf(perennial.CodeSchema, "the database schema is at version %d, which needs a program that knows version %d; this one knows %d: deploy a newer perennial", version, oldest.Int64, Version)
	}
	return nil
}
