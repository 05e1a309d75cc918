package testpg

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachTestHasADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	first, second := URL(t), URL(t)
	require.NotEqual(t, first, second)
	execute(t, first, "CREATE TABLE here (n int)")
	db, err := sql.Open("pgx", second)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "SELECT n FROM here")
	require.ErrorContains(t, err, "does not exist")
}
