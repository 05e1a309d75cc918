package schema_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/glebarez/go-sqlite" // the driver "sqlite"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/schema"
)

// kinds creates an empty database of each dialect.
var kinds = map[schema.Dialect]func(*testing.T) (driver, dsn string){
	schema.Postgres: func(t *testing.T) (string, string) { return "pgx", testpg.URL(t) },
	schema.SQLite: func(t *testing.T) (string, string) {
		return "sqlite", "file:" + filepath.Join(t.TempDir(), "x.db") + "?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)"
	},
}

// databases runs test on an empty database of each dialect.
func databases(t *testing.T, test func(*testing.T, *sql.DB, schema.Dialect)) {
	t.Parallel()
	for dialect, open := range kinds {
		t.Run(string(dialect), func(t *testing.T) {
			t.Parallel()
			driver, dsn := open(t)
			db, err := sql.Open(driver, dsn)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			test(t, db, dialect)
		})
	}
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

// migrations returns how many migrations there are: a number may be left out.
func migrations(t *testing.T) int64 {
	t.Helper()
	all, err := os.ReadDir("postgres")
	require.NoError(t, err)
	return int64(len(all))
}

func TestUpDownUp(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB, d schema.Dialect) {
		from, to, err := schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		require.Equal(t, []int64{0, schema.Version}, []int64{from, to})
		for range migrations(t) {
			require.NoError(t, schema.Down(t.Context(), db, d))
		}
		for _, table := range []string{"connections", "attempts", "schema_programs"} {
			_, err := db.ExecContext(t.Context(), "SELECT count(*) FROM "+table)
			require.Error(t, err, "%s is gone", table)
		}
		require.Equal(t, perennial.CodeSchema, perennial.CodeOf(schema.Check(t.Context(), db)))

		_, _, err = schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		from, to, err = schema.Migrate(t.Context(), db, d)
		require.NoError(t, err, "nothing to do")
		require.Equal(t, []int64{schema.Version, schema.Version}, []int64{from, to})
		require.NoError(t, schema.Check(t.Context(), db))
	})
}

func TestCheckRange(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB, d schema.Dialect) {
		err := schema.Check(t.Context(), db)
		require.Equal(t, perennial.CodeSchema, perennial.CodeOf(err), "never migrated")
		require.ErrorContains(t, err, "perennial migrate")

		_, _, err = schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		exec(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)")
		exec(t, db, "INSERT INTO schema_programs (version, oldest_program) VALUES (1000, 1)")
		require.NoError(t, schema.Check(t.Context(), db), "newer, and says that this program may run")

		exec(t, db, "UPDATE schema_programs SET oldest_program = 999 WHERE version = 1000")
		err = schema.Check(t.Context(), db)
		require.Equal(t, perennial.CodeSchema, perennial.CodeOf(err))
		require.ErrorContains(t, err, "deploy a newer")

		require.NoError(t, db.Close())
		err = schema.Check(t.Context(), db)
		require.Error(t, err)
		require.NotEqual(t, perennial.CodeSchema, perennial.CodeOf(err), "no answer is not an old schema")
	})
}

// TestConstraints shows that the database itself refuses what no program may write.
func TestConstraints(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB, d schema.Dialect) {
		_, _, err := schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		insert := func(id, status, health string, generation int) error {
			_, err := db.ExecContext(t.Context(), `INSERT INTO connections (id, tenant_id, app, provider, host, account_id, status, health, generation, created_at, updated_at)
				VALUES ($1, 't', 'a', 'p', 'h', 'account', $2, $3, $4, '2030-01-01 00:00:00+00:00', '2030-01-01 00:00:00+00:00')`, id, status, health, generation)
			return err
		}
		require.Error(t, insert("1", "asleep", "healthy", 1))
		require.Error(t, insert("1", "active", "unwell", 1))
		require.Error(t, insert("1", "active", "healthy", 0))
		require.NoError(t, insert("1", "active", "healthy", 1))
		require.NoError(t, insert("2", "disconnected", "healthy", 1))
		require.NoError(t, insert("3", "disconnected", "healthy", 1))
		require.Error(t, insert("4", "paused", "healthy", 1), "one live connection per account")
	})
}

// TestTokenOwners: connections with equal refresh tokens from before survive, and one of
// them owns the token. Disconnected ones own none.
func TestTokenOwners(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB, d schema.Dialect) {
		_, _, err := schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		require.NoError(t, schema.Down(t.Context(), db, d))
		for id, row := range map[string][2]string{"con_1": {"active", "same"}, "con_2": {"reconnect_required", "same"}, "con_3": {"active", ""}, "con_4": {"disconnected", "left"}, "con_5": {"paused", "own"}} {
			exec(t, db, `INSERT INTO connections (id, tenant_id, app, provider, host, account_id, status, health, generation, refresh_token_digest, created_at, updated_at)
				VALUES ('`+id+`', 't', 'app', 'p', 'h', 'of `+id+`', '`+row[0]+`', 'healthy', 1, '`+row[1]+`', '2026-01-02 03:04:05+00:00', '2026-01-02 03:04:05+00:00')`)
		}
		_, _, err = schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		var owners, rows string
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT string_agg(digest || ' ' || connection_id || ' ' || account_id, ', ' ORDER BY digest) FROM token_owners").Scan(&owners))
		require.Equal(t, "own con_5 of con_5, same con_1 of con_1", owners)
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM connections").Scan(&rows))
		require.Equal(t, "5", rows)
	})
}
