// Package db opens Perennial's database, PostgreSQL or SQLite, and gives the packages
// that keep rows in it one clock and one durable transaction. A function that is passed
// a transaction writes in it, so that a change and its event are committed together.
package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
)

// DB is an open database. It is safe for concurrent use by many goroutines and
// processes.
type DB struct {
	SQL     *sql.DB // for statements without the mapper
	Dialect schema.Dialect
	gorm    *gorm.DB
}

// With returns a session of the mapper outside any transaction.
func (d *DB) With(ctx context.Context) *gorm.DB { return d.gorm.WithContext(ctx) }

// Close closes the pool.
func (d *DB) Close() error { return d.SQL.Close() }

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error { return d.SQL.PingContext(ctx) }

// Migrate brings the schema to this program's version. It returns the versions before
// and after.
func (d *DB) Migrate(ctx context.Context) (from, to int64, err error) {
	return schema.Migrate(ctx, d.SQL, d.Dialect)
}

// NewestMigration returns the migration that MigrateDown would undo.
func (d *DB) NewestMigration(ctx context.Context) (schema.Migration, error) {
	return schema.Newest(ctx, d.SQL, d.Dialect)
}

// MigrateDown undoes the newest migration.
func (d *DB) MigrateDown(ctx context.Context) error { return schema.Down(ctx, d.SQL, d.Dialect) }

// CheckSchema refuses a schema outside this program's range.
func (d *DB) CheckSchema(ctx context.Context) error { return schema.Check(ctx, d.SQL) }

// Now returns the database's clock, in UTC.
func (d *DB) Now(ctx context.Context) (time.Time, error) { return d.Clock(d.With(ctx)) }

// Clock returns the current time in UTC, also inside a transaction. SQLite has
// milliseconds, PostgreSQL microseconds.
func (d *DB) Clock(tx *gorm.DB) (time.Time, error) {
	if d.Dialect == schema.SQLite {
		var text string
		if err := tx.Raw(`SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')`).Scan(&text).Error; err != nil {
			return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
		}
		return time.Parse(time.RFC3339Nano, text)
	}
	var now time.Time
	if err := tx.Raw(`SELECT clock_timestamp()`).Scan(&now).Error; err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	return now.UTC(), nil
}

// Durably runs fn in a transaction whose commit is on disk when Durably returns,
// whatever the server's default: a lost commit would be a lost token. Errors begin with
// doing.
func (d *DB) Durably(ctx context.Context, doing string, fn func(tx *gorm.DB) error) error {
	var inner error
	err := d.With(ctx).Transaction(func(tx *gorm.DB) error {
		if d.Dialect == schema.Postgres {
			// It is local to the transaction, so that it also works behind a pooler
			// that shares sessions.
			if inner = tx.Exec(`SET LOCAL synchronous_commit = on`).Error; inner != nil {
				inner = fmt.Errorf("%s: %w", doing, inner)
				return inner
			}
		}
		inner = fn(tx)
		return inner
	})
	if err != nil && inner == nil {
		return fmt.Errorf("%s: begin or commit: %w", doing, err)
	}
	return err
}
