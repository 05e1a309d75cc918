// Package schema has the database's numbered migrations, for PostgreSQL and SQLite, and
// applies them. Each is plain SQL, up and down, and records the oldest program that may
// run on it, so that old and new workers run side by side during a deploy.
package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Version is the newest schema that this program knows, and Oldest the oldest that it
// can run on.
const (
	Version int64 = 23
	Oldest  int64 = 23
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
	// If several processes migrate at once, one does the work and the others wait. The
	// lock is a row with a lease, not an advisory lock, because a pooler in transaction
	// mode gives each statement another session. It keeps no transaction open, which a
	// concurrent index build would wait for.
	locker, err := lock.NewPostgresTableLocker(
		lock.WithTableLeaseDuration(15*time.Second), lock.WithTableHeartbeatInterval(3*time.Second), // how long a crashed process keeps the lock
		lock.WithTableLockTimeout(250*time.Millisecond, 2400)) // 10 min
	if err != nil {
		return nil, fmt.Errorf("migration lock: %w", err)
	}
	return goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithLocker(locker))
}

// Migrate brings the schema to [Version]. Several processes may call it at once. On
// PostgreSQL it needs two connections of the pool. It may be repeated after a failure.
// It returns the versions before and after.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) (from, to int64, err error) {
	p, err := provider(db, d)
	if err != nil {
		return 0, 0, err
	}
	if from, err = p.GetDBVersion(ctx); err != nil {
		return 0, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	if err := up(ctx, p, from); err != nil {
		return from, from, fmt.Errorf("migrate the schema from version %d: %w", from, err)
	}
	if to, err = p.GetDBVersion(ctx); err != nil {
		return from, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return from, to, nil
}

// up applies the missing migrations above from. Without the lock, as on SQLite and
// beside an older program with another lock, two processes may apply the same
// migration: one of them fails, and continues after the other's work.
func up(ctx context.Context, p *goose.Provider, from int64) error {
	for {
		_, err := p.Up(ctx)
		if err == nil {
			return nil
		}
		version, versionErr := p.GetDBVersion(ctx)
		if versionErr != nil || version <= from {
			return err
		}
		from = version
	}
}

// Down undoes the newest migration. It loses the data that only the newer schema can
// hold.
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
	version, err := Current(ctx, db)
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
