package db

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

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

// Open opens the database that url names: postgres://... (PostgreSQL 12 or
// later, also behind a pooler such as PgBouncer) or sqlite:PATH. It does not migrate.
func Open(ctx context.Context, url string, pool Pool) (*DB, error) {
	pool = pool.withDefaults()
	if pool.MaxOpen < 2 || pool.IdleTime < 0 {
		return nil, perennial.Errorf(perennial.CodeInvalid, "a pool of %d connections, closed after %s without use: it needs at least 2 and a time above zero", pool.MaxOpen, pool.IdleTime)
	}
	dialect, dialector, err := dial(ctx, url)
	if err != nil {
		return nil, err
	}
	g, err := gorm.Open(dialector, &gorm.Config{
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
	d := &DB{gorm: g, Dialect: dialect}
	if d.SQL, err = g.DB(); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if dialect == schema.SQLite {
		d.SQL.SetMaxOpenConns(sqliteConns)
		d.SQL.SetMaxIdleConns(sqliteConns)
	} else {
		d.SQL.SetMaxOpenConns(pool.MaxOpen)
		d.SQL.SetMaxIdleConns(pool.MaxOpen)
		d.SQL.SetConnMaxIdleTime(pool.IdleTime)
	}
	if err := d.firstPing(ctx); err != nil {
		_ = d.SQL.Close() // return the ping's error instead
		return nil, unopened(err, url)
	}
	return d, nil
}

// busyFor is how long a process waits for SQLite's lock.
const busyFor = 10 * time.Second

// firstPing opens the pool's first connection. While several processes open a new
// SQLite file, each switches it to a write-ahead log, and SQLite refuses all but one of
// them at once: its busy timeout does not cover the switch. The others ask again.
func (d *DB) firstPing(ctx context.Context) error {
	for deadline := time.Now().Add(busyFor); ; {
		err := d.Ping(ctx)
		if err == nil || d.Dialect != schema.SQLite || !strings.Contains(err.Error(), "(SQLITE_BUSY)") || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
			fmt.Sprintf("?_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)", busyFor.Milliseconds())), nil
	}
	return "", nil, perennial.Errorf(perennial.CodeInvalid, "the database URL must begin with postgres:// or sqlite:")
}

// uriPath escapes the characters that would end the path in SQLite's file: URI.
var uriPath = strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")
