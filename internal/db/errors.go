package db

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
)

// IsDuplicate reports whether err comes from a unique index.
func IsDuplicate(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "23505"
	}
	return err != nil && strings.Contains(err.Error(), "UNIQUE constraint failed")
}

// IsDataError reports whether the database refused a statement because of its values
// (SQLSTATE classes 22 and 23, and SQLite's constraints), or the driver could not send
// one of them, or not read one back: SQLite takes a year of six digits. All would always
// refuse the same values.
func IsDataError(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23")
	}
	if err == nil {
		return false
	}
	for _, refusal := range []string{"constraint failed", "failed to encode args[", "unsupported Scan, storing driver.Value type string into type *time.Time"} {
		if strings.Contains(err.Error(), refusal) {
			return true
		}
	}
	return false
}

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
