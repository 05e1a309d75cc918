package store

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// TestSamplesReadFew: with 30,000 connections of two apps, a third of them in trouble of
// some kind, each read for people reads about what it returns, with each kind of plan.
func TestSamplesReadFew(t *testing.T) {
	t.Parallel()
	const fleet, page = 30_000, 100
	ctx := t.Context()
	s, db := fleetOfOne(t)
	do := func(statement string) { exec(t, db, statement) }
	for _, table := range []string{"connections", "attempts"} {
		do("ALTER TABLE " + table + " SET (autovacuum_enabled = false)")
	}
	do(fmt.Sprintf(`INSERT INTO connections (id, tenant_id, app, provider, host, account_id, status, health, failing_code, generation, refresh_count, next_refresh_at, next_attempt_at, queued_at, suspect_since, created_at, updated_at)
		SELECT 'c' || lpad(n::text, 6, '0'), 't' || n %% 50, CASE n %% 3 WHEN 0 THEN 'shops' ELSE 'hubspot' END, 'p', CASE n %% 3 WHEN 0 THEN 'h' || n ELSE 'h' END, n,
			'active', CASE n %% 9 WHEN 2 THEN 'failing' ELSE 'healthy' END, '', 1, 1, now() + (n - 100) * interval '1 second', CASE n %% 9 WHEN 4 THEN now() + interval '1 hour' END,
			CASE n %% 9 WHEN 4 THEN now() END, CASE n %% 9 WHEN 5 THEN now() END, now(), now() FROM generate_series(1, %d) AS n`, fleet))
	do(`INSERT INTO attempts (id, connection_id, generation, trigger_name, outcome, started_at)
		SELECT 'a' || n, 'c' || lpad((n % 30000 + 1)::text, 6, '0'), 1, CASE n % 3 WHEN 1 THEN 'beside' ELSE 'due' END, 'refreshed', now() - n * interval '1 second' FROM generate_series(1, 60000) AS n`)

	type query struct {
		table, sql string
		args       []any
	}
	var asked []query
	note := func(db *gorm.DB) {
		asked = append(asked, query{cmp.Or(db.Statement.Table, "connections"), db.Statement.SQL.String(), db.Statement.Vars})
	}
	require.NoError(t, s.db.With(ctx).Callback().Row().After("gorm:row").Register("test:asked", note))
	require.NoError(t, s.db.With(ctx).Callback().Query().After("gorm:query").Register("test:asked", note))
	do("ANALYZE connections, attempts")
	for what, q := range map[string]struct {
		most float64
		ask  func() (int, error)
	}{
		"sample":    {page + 2, func() (int, error) { cs, err := s.Sample(ctx, page); return len(cs), err }},
		"failing":   {2 * page, func() (int, error) { cs, err := s.FailingSample(ctx, page); return len(cs), err }},
		"beside":    {2 * page, func() (int, error) { cs, err := s.RefreshedBeside(ctx, time.Hour, page); return len(cs), err }},
		"suspects":  {2 * page, func() (int, error) { cs, err := s.Suspects(ctx, 0, page); return len(cs), err }},
		"queued":    {20 * page, func() (int, error) { n, err := s.Queued(ctx, "hubspot", "h", page); return int(n), err }},
		"of an app": {2 * page, func() (int, error) { n, err := s.Queued(ctx, "hubspot", "", page); return int(n), err }},
		"hosts":     {2 * page, func() (int, error) { hosts, err := s.AppHosts(ctx, page); return len(hosts), err }},
	} {
		asked = nil
		n, err := q.ask()
		require.NoError(t, err, what)
		assert.NotZero(t, n, what)
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			do("SET plan_cache_mode = " + mode)
			rows := 0.0
			for _, a := range asked {
				rows += seenOf(t, db, "connections", a.sql, literals(t, a.args)) + seenOf(t, db, "attempts", a.sql, literals(t, a.args))
			}
			assert.LessOrEqual(t, rows, q.most, "%s, %s", what, mode)
		}
	}
}
