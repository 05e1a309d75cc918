package store_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/store/storetest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	storetest.Run(t, testpg.URL)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, sqliteURL)
}

// sqliteURL names a file whose path has what a URI would cut off.
func sqliteURL(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "50% of a? b#c.db")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, err := store.Open(t.Context(), "mysql://user:hunter2@host/db")
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.NotContains(t, err.Error(), "hunter2")
	for _, url := range []string{
		"postgres://user:hunter2@127.0.0.1:1/db?connect_timeout=5",
		"postgres://user:hunter2@127.0.0.1:port/db",
	} {
		_, err = store.Open(t.Context(), url)
		require.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
		require.NotContains(t, err.Error(), "hunter2")
	}
}
