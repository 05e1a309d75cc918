package store

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// Setting returns the database's answer to query.
func Setting(t *testing.T, s *Store, query string) (value string) {
	t.Helper()
	require.NoError(t, s.db.With(t.Context()).Raw(query).Scan(&value).Error)
	return value
}

// SettingInWrite is [Setting] inside the transaction of a write.
func SettingInWrite(t *testing.T, s *Store, query string) (value string) {
	t.Helper()
	require.NoError(t, s.db.Durably(t.Context(), "read a setting", func(tx *gorm.DB) error {
		return tx.Raw(query).Scan(&value).Error
	}))
	return value
}

// SettingInQuick is [Setting] inside a single statement.
func SettingInQuick(t *testing.T, s *Store, name string) (value string) {
	t.Helper()
	require.NoError(t, s.db.With(t.Context()).Raw("WITH "+durable+" SELECT current_setting(?) FROM durable", name).Scan(&value).Error)
	return value
}

// Execute runs a statement.
func Execute(t *testing.T, s *Store, statement string, args ...any) {
	t.Helper()
	require.NoError(t, s.db.With(t.Context()).Exec(statement, args...).Error)
}
