package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Store is safe for concurrent use by many goroutines and processes.
type Store struct {
	db        *db.DB
	successes successes
}

// New returns the store of an open database.
func New(d *db.DB) *Store { return &Store{db: d} }

// Open opens the database that url names: postgres://... (PostgreSQL 12 or later, also
// behind a pooler such as PgBouncer) or sqlite:PATH. It does not migrate.
func Open(ctx context.Context, url string) (*Store, error) {
	d, err := db.Open(ctx, url, db.Pool{})
	if err != nil {
		return nil, err
	}
	return New(d), nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Migrate brings the schema to this program's version. It returns the versions before
// and after.
func (s *Store) Migrate(ctx context.Context) (from, to int64, err error) { return s.db.Migrate(ctx) }

// CheckSchema refuses a schema outside this program's range.
func (s *Store) CheckSchema(ctx context.Context) error { return s.db.CheckSchema(ctx) }

// Now returns the database's clock, in UTC.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.db.Now(ctx) }

// locked runs fn in a transaction that has locked the row. It passes the row and the
// database's clock, both read after the lock was taken. If there is no such row, found
// is false and fn does not run.
func (s *Store) locked(ctx context.Context, access perennial.Access, id string, fn func(tx *gorm.DB, c perennial.Connection, now time.Time) error) (found bool, err error) {
	err = s.db.Durably(ctx, "write connection "+id, func(tx *gorm.DB) error {
		query := db.Reach(tx.Where("id = ?", id), access)
		if s.db.Dialect == schema.Postgres {
			query = query.Clauses(clause.Locking{Strength: "UPDATE"}) // SQLite's BEGIN IMMEDIATE locks already
		}
		rows, err := readConnections(query.Limit(1))
		if err != nil {
			return fmt.Errorf("lock connection %s: %w", id, err)
		}
		if len(rows) == 0 {
			return nil
		}
		found = true
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		return fn(tx, rows[0], now)
	})
	return found, err
}

// update writes columns of the row that the transaction has locked.
func update(tx *gorm.DB, id string, now time.Time, set columns) error {
	if len(set) == 0 {
		return nil
	}
	set["updated_at"] = now
	if err := tx.Table("connections").Where("id = ?", id).Updates(map[string]any(set)).Error; err != nil {
		return fmt.Errorf("write connection %s: %w", id, err)
	}
	return nil
}

// change writes columns of the row that the transaction has locked and read as before,
// and the event of the change. It returns the row as it then is.
func change(tx *gorm.DB, before perennial.Connection, set columns, now time.Time) (after perennial.Connection, err error) {
	if err := update(tx, before.ID, now, set); err != nil {
		return perennial.Connection{}, err
	}
	if after, err = reread(tx, before.ID); err != nil {
		return perennial.Connection{}, err
	}
	return after, emitChange(tx, before, after, now)
}

func reread(tx *gorm.DB, id string) (perennial.Connection, error) {
	rows, err := readConnections(tx.Where("id = ?", id))
	if err != nil || len(rows) == 0 {
		return perennial.Connection{}, fmt.Errorf("read connection %s: %w", id, cmp.Or(err, gorm.ErrRecordNotFound))
	}
	return rows[0], nil
}

func notFound(id string) error {
	return perennial.Errorf(perennial.CodeNotFound, "there is no connection %q: `perennial list` shows those that there are", id)
}
