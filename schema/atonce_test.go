package schema_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/schema"
)

// TestMigrateAtOnce: of eight processes one migrates and the others wait for it, from
// the first migration on and from the middle.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct{ name, url string }{
		{"postgres", testpg.URL(t)}, {"pgbouncer", testpg.PooledURL(t)}, {"sqlite", "sqlite:" + filepath.Join(t.TempDir(), "x.db")},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			migrateAtOnce(t, kind.url)
			d, err := db.Open(t.Context(), kind.url, db.Pool{})
			require.NoError(t, err)
			defer d.Close()
			for range 3 {
				require.NoError(t, d.MigrateDown(t.Context()))
			}
			migrateAtOnce(t, kind.url)
			var lines int64
			require.NoError(t, d.SQL.QueryRowContext(t.Context(), "SELECT count(*) FROM schema_programs").Scan(&lines))
			require.Equal(t, migrations(t), lines)
			require.NoError(t, d.SQL.QueryRowContext(t.Context(), "SELECT count(*) FROM goose_db_version WHERE version_id > 0").Scan(&lines))
			require.Equal(t, migrations(t), lines, "each was applied once")
		})
	}
}

func migrateAtOnce(t *testing.T, url string) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	for range 8 { // processes
		g.Go(func() error {
			d, err := db.Open(ctx, url, db.Pool{MaxOpen: 2}) // the smallest pool that works
			if err != nil {
				return err
			}
			defer d.Close()
			if _, _, err = d.Migrate(ctx); err != nil {
				return err
			}
			return d.CheckSchema(ctx)
		})
	}
	require.NoError(t, g.Wait())
}

func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// TestMigrateAfterACrash: after a process died, the next one gets its lock and repairs
// an index whose build was interrupted.
func TestMigrateAfterACrash(t *testing.T) {
	t.Parallel()
	db := openDB(t, "pgx", testpg.URL(t))
	_, _, err := schema.Migrate(t.Context(), db, schema.Postgres)
	require.NoError(t, err)
	for range schema.Version - 6 { // to before the first index that is built beside running programs
		require.NoError(t, schema.Down(t.Context(), db, schema.Postgres))
	}
	exec(t, db, "UPDATE goose_lock SET locked = true, locked_by = 'the dead', lease_expires_at = now() + interval '1 second'")
	broken := []string{"connections_turn", "connections_due_new", "connections_of_tenant", "connections_failing"}
	for _, index := range broken { // as an interrupted CREATE INDEX CONCURRENTLY leaves it
		exec(t, db, "CREATE INDEX "+index+" ON connections (cadence)")
		exec(t, db, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"+index+"'::regclass")
	}
	_, to, err := schema.Migrate(t.Context(), db, schema.Postgres)
	require.NoError(t, err)
	require.Equal(t, schema.Version, to)
	var invalid, onCadence int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_index WHERE NOT indisvalid").Scan(&invalid))
	require.Zero(t, invalid)
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%(cadence)%'").Scan(&onCadence))
	require.Zero(t, onCadence)
}

// TestMigrateDoesNotBlock: programs read and write connections while an index is built
// or a column is added. That waits for a transaction that began before it; no statement
// waits for it.
func TestMigrateDoesNotBlock(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openDB(t, "pgx", testpg.URL(t))
	_, _, err := schema.Migrate(ctx, db, schema.Postgres)
	require.NoError(t, err)
	for _, id := range []string{"1", "2"} {
		exec(t, db, `INSERT INTO connections (id, tenant_id, app, provider, host, account_id, status, health, generation, created_at, updated_at)
			VALUES ('`+id+`', 't', 'a', 'p', 'h', '`+id+`', 'active', 'healthy', 1, now(), now())`)
	}
	const oldest, last = 6, 9 // the versions that build an index beside running programs come between
	for range schema.Version - oldest {
		require.NoError(t, schema.Down(ctx, db, schema.Postgres))
	}
	for version := int64(oldest); version < last; version++ {
		before, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		defer func() { _ = before.Rollback() }() // if the test failed before its commit
		_, err = before.ExecContext(ctx, "UPDATE connections SET generation = 2 WHERE id = '1'")
		require.NoError(t, err)
		migrated := make(chan error, 1)
		go func() {
			_, _, err := schema.Migrate(context.WithoutCancel(ctx), db, schema.Postgres)
			migrated <- err
		}()
		require.Eventually(t, func() bool {
			var waiting int
			err := db.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting)
			return err == nil && waiting > 0
		}, time.Minute, 5*time.Millisecond, "the build waits")
		conn, err := db.Conn(ctx)
		require.NoError(t, err)
		for _, statement := range []string{"SET lock_timeout = '10s'", "SELECT generation FROM connections WHERE id = '2'", "UPDATE connections SET generation = generation + 1 WHERE id = '2'"} {
			_, err := conn.ExecContext(ctx, statement)
			require.NoError(t, err, "above version %d: %s", version, statement)
		}
		require.NoError(t, conn.Close())
		require.NoError(t, before.Commit())
		require.NoError(t, <-migrated)
		for range schema.Version - version - 1 {
			require.NoError(t, schema.Down(ctx, db, schema.Postgres))
		}
	}
}
