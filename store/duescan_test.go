package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestABulkClaimReadsWhatIsDue: a bulk claim does not read the app's whole fleet when
// fewer are due than it may claim. It does not read another app's fleet, all of which
// is due, nor the app's waiting connections. It reads nothing while the provider is
// away. PostgreSQL counts the rows of its plan, with the statistics of old fleets.
func TestABulkClaimReadsWhatIsDue(t *testing.T) {
	t.Parallel()
	const fleet, due = 5_000, 50
	ctx := t.Context()
	s, db := fleetOfOne(t)
	_, err := s.ClaimDue(ctx, ClaimDueRequest{Shard: Shard{App: "hubspot", Of: 1}, Limit: 1, Lease: time.Minute}) // creates the pacer's row
	require.NoError(t, err)
	do := func(statement string) { exec(t, db, statement) }
	clone := func(id string, set string) { // copies of the first one, not in the order of due times
		do(fmt.Sprintf(`INSERT INTO connections SELECT (jsonb_populate_record(c, jsonb_build_object('id', '%[1]s' || n, 'account_id', '%[1]s' || n, %[2]s))).*
			FROM connections AS c, generate_series(1, %[3]d) AS n WHERE c.id = 'first' ORDER BY hashint4(n)`, id, set, fleet))
	}
	const past, future = "clock_timestamp() - n * interval '1 second'", "clock_timestamp() + n * interval '1 second'"
	clone("later", "'next_refresh_at', "+future)
	clone("other", "'app', 'other', 'next_refresh_at', "+past)
	clone("waits", "'queued_at', clock_timestamp(), 'next_refresh_at', "+past+", 'next_attempt_at', "+future+" + interval '1 hour'")
	clone("fails", "'failure_count', 3, 'next_refresh_at', "+past+", 'next_attempt_at', "+future+" + interval '1 hour'")
	do("VACUUM ANALYZE connections")

	// looks returns how many rows a claim reads, and how many it claims.
	looks := func() (rows, claimed float64) {
		t.Helper()
		rows = seen(t, db, numbered(claimDue), `'hubspot', 0, 1, 0, 'hubspot', 0, 1, 0, 'hubspot', 'hubspot', 'hubspot', 'hubspot', 64,
			'hubspot', 0, 1, 'att', 60000000, 'due', 'hubspot', 0, 1`)
		require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM connections WHERE attempt_id <> ''").Scan(&claimed))
		return rows, claimed
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		do("SET plan_cache_mode = " + mode)
		do(fmt.Sprintf("UPDATE connections SET attempt_id = '', next_refresh_at = CASE WHEN substr(id, 6)::int <= %d THEN clock_timestamp() - interval '1 second' ELSE clock_timestamp() + interval '1 hour' END WHERE id LIKE 'later%%'", due))
		do(`INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'h', 'unavailable', clock_timestamp())`)
		rows, claimed := looks()
		assert.Zero(t, claimed, "%s: the circuit is open", mode)
		assert.LessOrEqual(t, rows, 2.0, "%s: but the first and the last host", mode)
		do("DELETE FROM circuits")
		rows, claimed = looks()
		assert.Equal(t, float64(due), claimed, mode)
		assert.Less(t, rows, float64(fleet)/10, mode)
	}
}

// TestAClaimReadsItsRow: a claim reads no other row, even before the table has
// statistics, as right after an import.
func TestAClaimReadsItsRow(t *testing.T) {
	t.Parallel()
	_, db := fleetOfOne(t)
	exec(t, db, "ALTER TABLE connections SET (autovacuum_enabled = false)")
	exec(t, db, `INSERT INTO connections SELECT (jsonb_populate_record(c, jsonb_build_object('id', 'c' || n, 'account_id', n::text))).* FROM connections AS c, generate_series(1, 500) AS n`)
	exec(t, db, "INSERT INTO apps (app, updated_at) VALUES ('hubspot', clock_timestamp()) ON CONFLICT DO NOTHING")
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		exec(t, db, "SET plan_cache_mode = "+mode)
		exec(t, db, "UPDATE connections SET attempt_id = ''")
		assert.Equal(t, 1.0, seen(t, db, fastSlot, "'c5', 1, 'hubspot', 'hubspot', 0, 1000000, 1000"), "%s: the gate", mode)
		assert.Equal(t, 1.0, seen(t, db, fastClaim, "'att', 60000000, 'timer', 'c5', 1, 'hubspot'"), "%s: the fence", mode)
	}
}

// TestTheWatchdogReadsLittle: while nothing is overdue, the search for neglected
// connections reads one index entry for each app. Of an app with a backlog it reads the
// connections that are due for longest.
func TestTheWatchdogReadsLittle(t *testing.T) {
	t.Parallel()
	s, db := fleetOfOne(t)
	const fleet = 15 * neglectedRead
	for _, app := range []string{"a", "b", "c"} {
		exec(t, db, fmt.Sprintf(`INSERT INTO connections SELECT (jsonb_populate_record(c, jsonb_build_object('id', '%[1]s' || n, 'account_id', '%[1]s' || n, 'app', '%[1]s',
			'next_refresh_at', clock_timestamp() + n * interval '1 second'))).* FROM connections AS c, generate_series(1, %[2]d) AS n WHERE c.id = 'first' ORDER BY hashint4(n)`, app, fleet))
	}
	exec(t, db, `UPDATE connections SET next_refresh_at = clock_timestamp() - substr(id, 2)::int * interval '1 minute', next_attempt_at = clock_timestamp() + interval '1 hour' WHERE app = 'c' AND id <> 'c1'`)
	exec(t, db, `UPDATE connections SET next_refresh_at = clock_timestamp() - substr(id, 2)::int * interval '1 minute' WHERE app = 'b'`)
	exec(t, db, fmt.Sprintf(`INSERT INTO attempts (id, connection_id, generation, trigger_name, outcome, lateness_ms, started_at)
		SELECT 'l' || n, 'a' || n, 1, 'due', 'refreshed', 1, clock_timestamp() - n * interval '1 millisecond' FROM generate_series(1, %d) AS n`, fleet))
	exec(t, db, "VACUUM ANALYZE connections, attempts")
	statement, _ := s.neglectedRows("", "", 2*time.Minute, time.Time{}, time.Time{})
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		exec(t, db, "SET plan_cache_mode = "+mode)
		late := seen(t, db, s.lateApps(), "")
		assert.Less(t, late, 20.0, "%s: a few for each app", mode)
		for _, table := range []string{"connections", "attempts"} {
			served := seenOf(t, db, table, numbered(servedLines), "clock_timestamp() - interval '1 hour', 'refreshed', 'beside'")
			assert.Equal(t, float64(servedRead), served, "%s: %s of the newest lines", mode, table)
		}
		rows := seen(t, db, numbered(statement), "'b', clock_timestamp(), clock_timestamp(), NULL")
		assert.LessOrEqual(t, rows, float64(neglectedRead)+5, "%s: a backlog", mode)
	}
	out, err := s.Neglected(t.Context(), NeglectedRequest{Patience: 2 * time.Minute, Limit: 10})
	require.NoError(t, err)
	assert.Equal(t, neglectedRead, out.Found)
	assert.Len(t, out.Connections, 10)
}

// TestMoveHostReadsNothing: a worker that starts finds without reading connections that
// none has to move. A plan for any host would read them all; a worker asks once for each
// app, and PostgreSQL plans such a statement for its values.
func TestMoveHostReadsNothing(t *testing.T) {
	t.Parallel()
	_, conn := fleetOfWaiting(t, 20_000)
	exec(t, conn, "ANALYZE connections")
	where := strings.NewReplacer("app = ?", "app = $1", "host < ?", "host < $2", "host > ?", "host > $2").Replace(elsewhere)
	assert.Zero(t, seen(t, conn, "SELECT id FROM connections WHERE "+where+" LIMIT 500 FOR UPDATE SKIP LOCKED", "'hubspot', 'h'"))
}

// fleetOfOne returns a database with one connection, and a session on it.
func fleetOfOne(t testing.TB) (*Store, *sql.Conn) {
	t.Helper()
	ctx := t.Context()
	url := testpg.URL(t)
	s, err := Open(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, _, err = s.Migrate(ctx)
	require.NoError(t, err)
	_, err = s.Insert(ctx, perennial.WorkerAccess(), perennial.Connection{ID: "first", TenantID: "acme", App: "hubspot", Provider: "hubspot", Host: "h", AccountID: "a"},
		TokenWrite{Generation: 1, SealedTokens: SealedTokens{AccessTokenSealed: []byte("a"), RefreshTokenSealed: []byte("r"), RefreshTokenDigest: "1", NextRefreshAt: time.Now().Add(time.Hour)}, Status: perennial.StatusActive})
	require.NoError(t, err)
	pool, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	db, err := pool.Conn(ctx)
	require.NoError(t, err)
	return s, db
}

func exec(t testing.TB, db *sql.Conn, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err, statement)
}

// seen runs a statement and returns how many rows of connections it read.
func seen(t *testing.T, db *sql.Conn, statement, args string) float64 {
	t.Helper()
	return seenOf(t, db, "connections", statement, args)
}

// seenOf does the same for another table.
func seenOf(t *testing.T, db *sql.Conn, table, statement, args string) float64 {
	t.Helper()
	exec(t, db, "PREPARE statement AS "+statement)
	defer exec(t, db, "DEALLOCATE statement")
	if args != "" {
		args = "(" + args + ")"
	}
	var plan []byte
	require.NoError(t, db.QueryRowContext(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE statement"+args).Scan(&plan))
	var explained []struct{ Plan planNode }
	require.NoError(t, json.Unmarshal(plan, &explained))
	return explained[0].Plan.seen(table)
}

// planNode is a node of a plan, as EXPLAIN shows it.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Index    string     `json:"Index Name"`
	Rows     float64    `json:"Actual Rows"`
	Removed  float64    `json:"Rows Removed by Filter"`
	Loops    float64    `json:"Actual Loops"`
	Plans    []planNode `json:"Plans"`
}

// seen returns how many rows or index entries of a table were read.
func (n planNode) seen(table string) float64 {
	var rows float64
	if n.Type != "ModifyTable" && (n.Relation == table || n.Relation == "" && n.Index != "") {
		rows = (n.Rows + n.Removed) * n.Loops
	}
	for _, child := range n.Plans {
		rows += child.seen(table)
	}
	return rows
}
