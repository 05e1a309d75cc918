package schema_test

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/schema"
	"github.com/stretchr/testify/require"
)

var spaces = regexp.MustCompile(`\s+`)

// TestGoldenTables: the tables, columns, indexes and constraints of the newest version.
func TestGoldenTables(t *testing.T) {
	queries := map[schema.Dialect]string{
		schema.Postgres: `SELECT line FROM (
			SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '') AS line
				FROM information_schema.columns WHERE table_schema = current_schema()
			UNION ALL SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes WHERE schemaname = current_schema()
			UNION ALL SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
		) AS lines ORDER BY line COLLATE "C"`,
		schema.SQLite: `SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type, name`,
	}
	databases(t, func(t *testing.T, db *sql.DB, d schema.Dialect) {
		_, _, err := schema.Migrate(t.Context(), db, d)
		require.NoError(t, err)
		rows, err := db.QueryContext(t.Context(), queries[d])
		require.NoError(t, err)
		defer rows.Close()
		var lines []string
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			lines = append(lines, strings.TrimSpace(spaces.ReplaceAllString(line, " ")))
		}
		require.NoError(t, rows.Err())
		golden.Text(t, string(d)+".txt", strings.Join(lines, "\n")+"\n")
	})
}
