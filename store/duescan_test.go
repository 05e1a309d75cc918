package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestABulkClaimReadsWhatIsDue: not the app's whole fleet, when fewer are due than it
// may claim. PostgreSQL counts the rows that its plan looks at, with the statistics of
// a fleet that has been there for a while.
func TestABulkClaimReadsWhatIsDue(t *testing.T) {
	t.Parallel()
	const fleet, due = 20_000, 50
	ctx := t.Context()
	url := testpg.URL(t)
	s, err := Open(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, _, err = s.Migrate(ctx)
	require.NoError(t, err)
	_, err = s.Insert(ctx, perennial.Connection{ID: "first", TenantID: "acme", App: "hubspot", Provider: "hubspot", AccountID: "a"},
		TokenWrite{Generation: 1, AccessTokenSealed: []byte("a"), RefreshTokenSealed: []byte("r"), RefreshTokenDigest: "1", Status: perennial.StatusActive, NextRefreshAt: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	_, err = s.ClaimDue(ctx, PaceRequest{Shard: Shard{App: "hubspot", Of: 1}, Limit: 1, Hold: time.Minute}) // the pacer's row
	require.NoError(t, err)

	pool, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	db, err := pool.Conn(ctx)
	require.NoError(t, err)
	do := func(statement string) {
		t.Helper()
		_, err := db.ExecContext(ctx, statement)
		require.NoError(t, err, statement)
	}
	do(fmt.Sprintf(`INSERT INTO connections SELECT (jsonb_populate_record(c, jsonb_build_object('id', 'c' || n, 'account_id', n::text,
		'next_refresh_at', clock_timestamp() + n * interval '1 second'))).* FROM connections AS c, generate_series(2, %d) AS n`, fleet))
	do("VACUUM ANALYZE connections")
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		do("SET plan_cache_mode = " + mode)
		do(fmt.Sprintf("UPDATE connections SET attempt_id = '', next_refresh_at = clock_timestamp() - interval '1 second' WHERE id IN (SELECT id FROM connections WHERE next_refresh_at > clock_timestamp() ORDER BY id LIMIT %d)", due))
		do("PREPARE claim AS " + numbered(claimDue))
		var plan []byte
		require.NoError(t, db.QueryRowContext(ctx, "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE claim('hubspot', 0, 1, 0, 'hubspot', 0, 1, 0, 64, 'hubspot', 0, 1, 'att', 60000000, 'due', 'hubspot', 0, 1)").Scan(&plan))
		do("DEALLOCATE claim")
		var explained []struct{ Plan planNode }
		require.NoError(t, json.Unmarshal(plan, &explained))
		seen := explained[0].Plan.seen("connections")
		assert.GreaterOrEqual(t, seen, float64(due), mode)
		assert.Less(t, seen, float64(fleet)/10, "%s: %s", mode, plan)
	}
}

// planNode is a node of a plan, as EXPLAIN shows it.
type planNode struct {
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Name"`
	Rows     float64    `json:"Actual Rows"`
	Removed  float64    `json:"Rows Removed by Filter"`
	Loops    float64    `json:"Actual Loops"`
	Plans    []planNode `json:"Plans"`
}

// seen is how many rows or index entries of a table were looked at.
func (n planNode) seen(table string) float64 {
	var rows float64
	if n.Relation == table || n.Relation == "" && n.Index != "" {
		rows = (n.Rows + n.Removed) * n.Loops
	}
	for _, child := range n.Plans {
		rows += child.seen(table)
	}
	return rows
}
