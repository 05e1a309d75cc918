package store_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	contract(t, testpg.URL)
}

// TestPgBouncer runs the suite through a pooler that gives each transaction another
// session.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	contract(t, testpg.PooledURL)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	contract(t, dbtest.SQLiteURL)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := store.Open(t.Context(), "mysql://user:hunter2@host/db")
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.NotContains(t, err.Error(), "hunter2")
	for url, code := range map[string]perennial.Code{
		"postgres://user:hunter2@127.0.0.1:1/db?connect_timeout=5": perennial.CodeUnavailable,
		"postgres://user:hunter2@127.0.0.1:port/db":                perennial.CodeInvalid,
		another(t, testpg.URL(t)):                                  perennial.CodeInvalid, // another try does not help
	} {
		_, err = store.Open(t.Context(), url)
		require.Equal(t, code, perennial.CodeOf(err))
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// another returns the URL of a database that the same server does not have.
func another(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	u.Path += "_is_not_there"
	return u.String()
}

// TestPragmas shows that the driver understood each setting, because it ignores unknown
// ones.
func TestPragmas(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), dbtest.SQLiteURL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		require.Equal(t, want, store.Setting(t, s, "PRAGMA "+pragma), pragma)
	}
}

// TestSynchronousCommit shows that a write waits for the disk even if the server's
// default does not.
func TestSynchronousCommit(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testpg.URL(t))
	require.NoError(t, err)
	query := u.Query()
	query.Set("synchronous_commit", "off")
	u.RawQuery = query.Encode()
	s, err := store.Open(t.Context(), u.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Equal(t, "off", store.Setting(t, s, "SHOW synchronous_commit"))
	require.Equal(t, "on", store.SettingInWrite(t, s, "SHOW synchronous_commit"))
	require.Equal(t, "on", store.SettingInQuick(t, s, "synchronous_commit"))
	require.Equal(t, "off", store.Setting(t, s, "SHOW synchronous_commit"))
}

// TestRefused: Refused recognizes a statement that was refused for its values, and not
// a stopping server or a missing table.
func TestRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{"22021": true, "22008": true, "23505": true, "40001": false, "53300": false, "57P01": false, "08006": false, "42703": false} {
		require.Equal(t, want, db.IsDataError(fmt.Errorf("save: %w", &pgconn.PgError{Code: code})), code)
	}
	require.False(t, db.IsDataError(context.DeadlineExceeded))
	require.False(t, db.IsDataError(perennial.Errorf(perennial.CodeNotFound, "gone")))
}
