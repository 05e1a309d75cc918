// Package dbtest gives a test new, migrated databases of each kind: PostgreSQL,
// PostgreSQL behind PgBouncer, and SQLite.
package dbtest

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// Database is an open database with its URL.
type Database struct {
	*db.DB
	URL string
}

// kinds has the URL of a new database of each kind.
var kinds = map[string]func(testing.TB) string{"PostgreSQL": testpg.URL, "PgBouncer": testpg.PooledURL, "SQLite": SQLiteURL}

// Each runs test on a new database of each kind.
func Each(t *testing.T, test func(t *testing.T, d *Database)) {
	for name, at := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, New(t, at(t)))
		})
	}
}

// SQLiteURL names a file whose path has characters at which a URI would end.
func SQLiteURL(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "50% of a? b#c.db")
}

// New migrates the database that url names and opens it until the test ends.
func New(t testing.TB, url string) *Database {
	t.Helper()
	d := &Database{URL: url}
	d.DB = d.Open(t)
	_, _, err := d.Migrate(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.CheckSchema(t.Context()))
	return d
}

// Open opens the database once more, as another process would, until the test ends.
func (d *Database) Open(t testing.TB) *db.DB {
	t.Helper()
	out, err := db.Open(t.Context(), d.URL, db.Pool{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, out.Close()) })
	return out
}

// IsSQLite reports whether the database is SQLite.
func (d *Database) IsSQLite() bool { return strings.HasPrefix(d.URL, "sqlite:") }

// Foreign opens the database without package db, as another program does.
func (d *Database) Foreign(t testing.TB) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", ""
	if path, ok := strings.CutPrefix(d.URL, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)+"?_pragma=busy_timeout(10000)"
	} else {
		u, err := url.Parse(d.URL)
		require.NoError(t, err)
		query := u.Query()
		query.Set("default_query_exec_mode", "exec") // the URL may lead through a pooler
		u.RawQuery = query.Encode()
		dsn = u.String()
	}
	out, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	return out
}

// Exec runs a statement as another program does.
func (d *Database) Exec(t testing.TB, statement string) {
	t.Helper()
	foreign := d.Foreign(t)
	defer foreign.Close()
	_, err := foreign.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

// Number reads a number as another program does.
func (d *Database) Number(t testing.TB, query string) (n int) {
	t.Helper()
	foreign := d.Foreign(t)
	defer foreign.Close()
	require.NoError(t, foreign.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// Until waits until the database's clock has passed at.
func (d *Database) Until(t testing.TB, at time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		now, err := d.Now(ctx)
		require.NoError(t, err)
		if now.After(at) {
			return
		}
	}
}

// OnStatement calls hook with each statement that d has run by the mapper: with its SQL
// and the table that it names, if any. Call it before anything uses d.
func OnStatement(t testing.TB, d *db.DB, hook func(statement, table string)) {
	t.Helper()
	after := func(tx *gorm.DB) { hook(tx.Statement.SQL.String(), tx.Statement.Table) }
	c := d.With(t.Context()).Callback()
	for _, err := range []error{
		c.Create().After("gorm:create").Register("dbtest", after), c.Query().After("gorm:query").Register("dbtest", after),
		c.Update().After("gorm:update").Register("dbtest", after), c.Delete().After("gorm:delete").Register("dbtest", after),
		c.Row().After("gorm:row").Register("dbtest", after), c.Raw().After("gorm:raw").Register("dbtest", after),
	} {
		require.NoError(t, err)
	}
}
