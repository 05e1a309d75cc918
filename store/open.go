package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

// Store is safe for concurrent use by many goroutines and processes.
type Store struct {
	db      *gorm.DB
	sql     *sql.DB
	dialect schema.Dialect

	successes successes
}

// Pool bounds the connections to PostgreSQL of one process. SQLite ignores it.
type Pool struct {
	// MaxOpen bounds the open connections. Defaults to [DefaultMaxOpen]. It must be at
	// least 2, because migrating needs two.
	MaxOpen int
	// IdleTime is how long an unused connection stays open. Defaults to 1 min.
	IdleTime time.Duration
}

// DefaultMaxOpen is small, so that two workers and a server leave some of a small
// server's connections to people.
const DefaultMaxOpen = 5

func (p Pool) withDefaults() Pool {
	return Pool{MaxOpen: cmp.Or(p.MaxOpen, DefaultMaxOpen), IdleTime: cmp.Or(p.IdleTime, time.Minute)}
}

// sqliteConns bounds the pool of a process on SQLite, which allows one writer at a
// time.
const sqliteConns = 20

// Open is [OpenPool] with the defaults of [Pool].
func Open(ctx context.Context, url string) (*Store, error) { return OpenPool(ctx, url, Pool{}) }

// OpenPool opens the database that url names: postgres://... (PostgreSQL 12 or
// later, also behind a pooler such as PgBouncer) or sqlite:PATH. It does not migrate.
func OpenPool(ctx context.Context, url string, pool Pool) (*Store, error) {
	pool = pool.withDefaults()
	if pool.MaxOpen < 2 || pool.IdleTime < 0 {
		return nil, perennial.Errorf(perennial.CodeInvalid, "a pool of %d connections, closed after %s without use: it needs at least 2 and a time above zero", pool.MaxOpen, pool.IdleTime)
	}
	dialect, dialector, err := dial(ctx, url)
	if err != nil {
		return nil, err
	}
	db, err := gorm.Open(dialector, &gorm.Config{
		Logger:                 logger.Discard, // statements contain sealed values
		SkipDefaultTransaction: true,           // each write opens its own transaction
		DisableAutomaticPing:   true,
		// Name the columns in each statement: a column that a newer program adds must
		// not change what an older program's prepared statement returns.
		QueryFields: true,
	})
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "open the database: %s", withoutURL(err, url))
	}
	s := &Store{db: db, dialect: dialect}
	if s.sql, err = db.DB(); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if dialect == schema.SQLite {
		s.sql.SetMaxOpenConns(sqliteConns)
		s.sql.SetMaxIdleConns(sqliteConns)
	} else {
		s.sql.SetMaxOpenConns(pool.MaxOpen)
		s.sql.SetMaxIdleConns(pool.MaxOpen)
		s.sql.SetConnMaxIdleTime(pool.IdleTime)
	}
	if err := s.Ping(ctx); err != nil {
		_ = s.sql.Close() // return the ping's error instead
		return nil, unopened(err, url)
	}
	return s, nil
}

// dial opens the database that url names.
func dial(ctx context.Context, url string) (schema.Dialect, gorm.Dialector, error) {
	switch {
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		if err := checkPostgresURL(url); err != nil {
			return "", nil, err
		}
		conn, err := openPostgres(ctx, url)
		if err != nil {
			return "", nil, unopened(err, url)
		}
		return schema.Postgres, postgres.New(postgres.Config{Conn: conn}), nil
	case strings.HasPrefix(url, "sqlite:"):
		if err := tightenSQLite(strings.TrimPrefix(url, "sqlite:")); err != nil {
			return "", nil, err
		}
		// A lost commit would be a lost token, so synchronous stays FULL here too.
		return schema.SQLite, sqlite.Open("file:" + uriPath.Replace(strings.TrimPrefix(url, "sqlite:")) +
			"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"), nil
	}
	return "", nil, perennial.Errorf(perennial.CodeInvalid, "the database URL must begin with postgres:// or sqlite:")
}

// uriPath escapes the characters that would end the path in SQLite's file: URI.
var uriPath = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")

// unopened returns the error for a database that cannot be reached, or that refuses the
// user, the password or the name. Trying again does not help against a refusal.
func unopened(err error, url string) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (strings.HasPrefix(pg.Code, "28") || pg.Code == "3D000") {
		return perennial.Errorf(perennial.CodeInvalid, "the database refuses the user, the password or the name in database_url: %s", withoutURL(err, url))
	}
	return perennial.Errorf(perennial.CodeUnavailable, "the database does not answer: %s", withoutURL(err, url))
}

// withoutURL removes a password in the URL from an error.
func withoutURL(err error, url string) string {
	return strings.ReplaceAll(err.Error(), url, "(database URL)")
}

// Close closes the pool.
func (s *Store) Close() error { return s.sql.Close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.sql.PingContext(ctx) }

// Migrate brings the schema to this program's version. It returns the versions before
// and after.
func (s *Store) Migrate(ctx context.Context) (from, to int64, err error) {
	return schema.Migrate(ctx, s.sql, s.dialect)
}

// NewestMigration returns the migration that MigrateDown would undo.
func (s *Store) NewestMigration(ctx context.Context) (schema.Migration, error) {
	return schema.Newest(ctx, s.sql, s.dialect)
}

// MigrateDown undoes the newest migration.
func (s *Store) MigrateDown(ctx context.Context) error { return schema.Down(ctx, s.sql, s.dialect) }

// CheckSchema refuses a schema outside this program's range.
func (s *Store) CheckSchema(ctx context.Context) error { return schema.Check(ctx, s.sql) }

// Now returns the database's clock, in UTC.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.clock(s.db.WithContext(ctx)) }

// clock returns the current time, also inside a transaction. SQLite has milliseconds,
// PostgreSQL microseconds.
func (s *Store) clock(tx *gorm.DB) (time.Time, error) {
	if s.dialect == schema.SQLite {
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

// durably runs fn in a transaction whose commit is on disk when durably returns,
// whatever the server's default: a lost commit would be a lost token. Errors begin with
// doing.
func (s *Store) durably(ctx context.Context, doing string, fn func(tx *gorm.DB) error) error {
	var inner error
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if s.dialect == schema.Postgres {
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

// locked runs fn in a transaction that has locked the row. It passes the row and the
// database's clock, both read after the lock was taken. If there is no such row, found
// is false and fn does not run.
func (s *Store) locked(ctx context.Context, id string, fn func(tx *gorm.DB, c perennial.Connection, now time.Time) error) (found bool, err error) {
	err = s.durably(ctx, "write connection "+id, func(tx *gorm.DB) error {
		query := tx.Where("id = ?", id)
		if s.dialect == schema.Postgres {
			query = query.Clauses(clause.Locking{Strength: "UPDATE"}) // SQLite's BEGIN IMMEDIATE locks already
		}
		var rows []row
		if err := query.Limit(1).Find(&rows).Error; err != nil {
			return fmt.Errorf("lock connection %s: %w", id, err)
		}
		if len(rows) == 0 {
			return nil
		}
		found = true
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		return fn(tx, rows[0].connection(), now)
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

func reread(tx *gorm.DB, id string) (perennial.Connection, error) {
	var r row
	if err := tx.Where("id = ?", id).Take(&r).Error; err != nil {
		return perennial.Connection{}, fmt.Errorf("read connection %s: %w", id, err)
	}
	return r.connection(), nil
}

func notFound(id string) error {
	return perennial.Errorf(perennial.CodeNotFound, "there is no connection %q: `perennial list` shows those that there are", id)
}

// duplicate reports whether err comes from a unique index.
func duplicate(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "23505"
	}
	return err != nil && strings.Contains(err.Error(), "UNIQUE constraint failed")
}

// IsDataError reports whether the database refused a statement because of its values
// (SQLSTATE classes 22 and 23, and SQLite's constraints). It would always refuse the
// same values.
func IsDataError(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23")
	}
	return err != nil && strings.Contains(err.Error(), "constraint failed")
}
