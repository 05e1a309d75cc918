package store

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// Setting returns the database's answer to query.
func Setting(t *testing.T, s *Store, query string) (value string) {
	t.Helper()
	require.NoError(t, s.db.WithContext(t.Context()).Raw(query).Scan(&value).Error)
	return value
}

// SettingInWrite is [Setting] inside the transaction of a write.
func SettingInWrite(t *testing.T, s *Store, query string) (value string) {
	t.Helper()
	require.NoError(t, s.durably(t.Context(), "read a setting", func(tx *gorm.DB) error {
		return tx.Raw(query).Scan(&value).Error
	}))
	return value
}

// SettingInQuick is [Setting] inside a single statement.
func SettingInQuick(t *testing.T, s *Store, name string) (value string) {
	t.Helper()
	require.NoError(t, s.db.WithContext(t.Context()).Raw("WITH "+durable+" SELECT current_setting(?) FROM durable", name).Scan(&value).Error)
	return value
}

// CheckPostgresURL checks a URL of PostgreSQL.
var CheckPostgresURL = checkPostgresURL

// Exec runs a statement on a connection of the store's pool.
func Exec(t *testing.T, s *Store, statement string) error {
	return s.db.WithContext(t.Context()).Exec(statement).Error
}
