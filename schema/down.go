package schema

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// Migration is an applied migration.
type Migration struct {
	Version int64
	Name    string   // from its file's name
	Loses   []string // stored data that undoing it deletes, in words
}

// Newest returns the migration that [Down] would undo. If there is none, it returns an
// error of [perennial.CodeConflict]; if a newer program applied it, of
// [perennial.CodeSchema].
func Newest(ctx context.Context, db *sql.DB, d Dialect) (Migration, error) {
	version, err := Current(ctx, db)
	if err != nil {
		return Migration{}, err
	}
	if version == 0 {
		return Migration{}, perennial.Errorf(perennial.CodeConflict, "no migration was applied: there is nothing to take back")
	}
	found, err := fs.Glob(files, fmt.Sprintf("%s/%05d_*.sql", d, version))
	if err != nil {
		return Migration{}, fmt.Errorf("find migration %d: %w", version, err)
	}
	if len(found) == 0 {
		return Migration{}, perennial.Errorf(perennial.CodeSchema, "the database schema is at version %d, which this program does not know: take it back with the program that made it", version)
	}
	text, err := fs.ReadFile(files, found[0])
	if err != nil {
		return Migration{}, fmt.Errorf("read migration %d: %w", version, err)
	}
	return Migration{Version: version, Name: path.Base(found[0]), Loses: losses(string(text))}, nil
}

var (
	dropsTable  = regexp.MustCompile(`(?i)DROP TABLE (?:IF EXISTS )?(\w+)`)
	dropsColumn = regexp.MustCompile(`(?i)ALTER TABLE (\w+) DROP COLUMN (\w+)`)
)

// losses reads which data a migration's way down deletes.
func losses(migration string) []string {
	_, down, _ := strings.Cut(migration, "-- +goose Down")
	var out []string
	for _, m := range dropsTable.FindAllStringSubmatch(down, -1) {
		what := "the table " + m[1]
		if m[1] == "connections" {
			what += ", every stored token with it"
		}
		out = append(out, what)
	}
	for _, m := range dropsColumn.FindAllStringSubmatch(down, -1) {
		out = append(out, "the column "+m[2]+" of "+m[1])
	}
	return out
}

// Current returns the schema's version; 0: never migrated.
func Current(ctx context.Context, db *sql.DB) (int64, error) {
	var version sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&version)
	if err != nil && !noTable(err) {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return version.Int64, nil
}
