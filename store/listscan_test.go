package store

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// TestListsReadWhatTheyShow: with 100,000 connections of one app, a connect, a list and
// the look for a success read a page and not the table, with each kind of plan, before
// the table has statistics and after.
func TestListsReadWhatTheyShow(t *testing.T) {
	t.Parallel()
	const fleet, page = 100_000, 100
	ctx := t.Context()
	s, db := fleetOfOne(t)
	do := func(statement string) { exec(t, db, statement) }
	for _, table := range []string{"connections", "outbox"} {
		do("ALTER TABLE " + table + " SET (autovacuum_enabled = false)")
	}
	// One tenant has nearly all. Of each thousand, one is another tenant's, one is
	// disconnected, one waits for its user and one fails.
	do(fmt.Sprintf(`INSERT INTO connections (id, tenant_id, app, provider, host, account_id, status, health, failing_code, generation, refresh_count, last_refreshed_at, next_refresh_at, created_at, updated_at)
		SELECT 'c' || lpad(n::text, 6, '0'), CASE n %% 1000 WHEN 1 THEN 'small' ELSE 'large' END, 'hubspot', 'hubspot', 'h', n,
			CASE n %% 1000 WHEN 2 THEN 'disconnected' WHEN 3 THEN 'reconnect_required' ELSE 'active' END, CASE n %% 1000 WHEN 4 THEN 'failing' ELSE 'healthy' END, '',
			1, 1, now() - (n * 7919 %% 1800) * interval '1 second', now(), now(), now() FROM generate_series(1, %d) AS n`, fleet))
	do(`INSERT INTO outbox (id, type, app, connection_id, body, created_at, delivered_at) SELECT 'e' || n, 'x', 'hubspot', 'c', '{}', now() - n * interval '1 second', now() FROM generate_series(1, 20000) AS n`)

	type query struct {
		table, sql string
		args       []any
	}
	var asked []query
	require.NoError(t, s.db.With(ctx).Callback().Row().After("gorm:row").Register("test:asked", func(db *gorm.DB) {
		asked = append(asked, query{cmp.Or(db.Statement.Table, "connections"), db.Statement.SQL.String(), db.Statement.Vars})
	}))
	listOf := func(access perennial.Access, f Filter) func() error {
		return func() error { _, err := s.List(ctx, access, f); return err }
	}
	list := func(f Filter) func() error { return listOf(perennial.WorkerAccess(), f) }
	small, large := accesstest.Of(t, "small"), accesstest.Of(t, "large")
	find := func(account, found string) func() error {
		return func() error {
			c, err := s.FindByAccount(ctx, accesstest.Of(t, "large"), "hubspot", account)
			if c.ID != found {
				return fmt.Errorf("account %s: connection %q", account, c.ID)
			}
			if found == "" {
				require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
				return nil
			}
			return err
		}
	}
	for _, statistics := range []string{"without statistics", "with statistics"} {
		if statistics == "with statistics" {
			do("ANALYZE connections, outbox")
		}
		for _, q := range []struct {
			what string  // "later": its plan is only right once there are statistics
			most float64 // rows and index entries; a bitmap counts each twice
			ask  func() error
		}{
			{"an account", 1, find("500", "c000500")},
			{"a disconnected account", 1, find("1002", "c001002")},
			{"a new account", 0, find("new", "")},
			{"a tenant", page, listOf(small, Filter{})},
			{"a large tenant", page, listOf(large, Filter{})},
			{"a later page of a tenant", page, listOf(small, Filter{After: "c050000"})},
			{"an app of a tenant, later", page, listOf(small, Filter{App: "hubspot"})},
			{"an app that alone is allowed, later", page, listOf(small.OnApps("hubspot"), Filter{})},
			{"an app, later", page, list(Filter{App: "hubspot"})},
			{"by status", 2 * page, list(Filter{Status: perennial.StatusReconnectRequired})},
			{"by status, of a tenant", 2 * page, listOf(large, Filter{Status: perennial.StatusReconnectRequired})},
			{"by status, of a tenant with few", 2 * page, listOf(small, Filter{Status: perennial.StatusDisconnected})},
			{"by health", 2 * page, list(Filter{Health: perennial.HealthFailing})},
			{"by health, of a tenant", 2 * page, listOf(large, Filter{Health: perennial.HealthFailing})},
			{"the events", 20, func() error { _, err := s.Events(ctx, "", 20); return err }},
			{"a success within 30 s", fleet / 100, func() error {
				found, err := s.succeededSince(s.db.With(ctx), circuitRow{App: "hubspot", Host: "h"}, time.Now().Add(-30*time.Second))
				require.True(t, found)
				return err
			}},
		} {
			if statistics == "without statistics" && strings.HasSuffix(q.what, "later") {
				continue
			}
			asked = nil
			require.NoError(t, q.ask(), q.what)
			for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
				do("SET plan_cache_mode = " + mode)
				rows := 0.0
				for _, a := range asked {
					rows += seenOf(t, db, a.table, a.sql, literals(t, a.args))
				}
				assert.LessOrEqual(t, rows, q.most, "%s, %s, %s", q.what, statistics, mode)
			}
		}
	}
}

// literals writes values as SQL.
func literals(t *testing.T, values []any) string {
	t.Helper()
	out := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case string:
			out[i] = "'" + v + "'"
		case int:
			out[i] = fmt.Sprint(v)
		case time.Time:
			out[i] = "'" + v.Format(time.RFC3339Nano) + "'"
		default:
			require.Failf(t, "a value", "%T", v)
		}
	}
	return strings.Join(out, ", ")
}
