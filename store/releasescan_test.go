package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// TestALargeRelease: with 100,000 waiting connections a good probe moves the circuit to
// releasing within a second. The steps of the release are short transactions that write
// at most a chunk, and do not read the
// app's whole fleet.
func TestALargeRelease(t *testing.T) {
	t.Parallel()
	const fleet = 100_000
	ctx := t.Context()
	s, conn := fleetOfWaiting(t, fleet)
	took := map[string][]time.Duration{}
	timed := func(what string, do func() error) {
		t.Helper()
		began := time.Now()
		require.NoError(t, do())
		took[what] = append(took[what], time.Since(began))
	}
	timed("begin", func() error { return s.NoteReply(ctx, goodProbe) })
	count := func(where string) (n int64) {
		require.NoError(t, s.db.With(ctx).Table("waiting").Where(where).Count(&n).Error)
		return n
	}
	var asked []string
	var values [][]any
	require.NoError(t, s.db.With(ctx).Callback().Row().After("gorm:row").Register("test:asked", func(tx *gorm.DB) {
		if strings.Contains(tx.Statement.SQL.String(), "connections AS c") {
			asked, values = append(asked, tx.Statement.SQL.String()), append(values, tx.Statement.Vars)
		}
	}))
	gathered := func(chunks int) {
		t.Helper()
		for range chunks {
			before := count("true")
			timed("gather", func() error { _, err := s.gather(ctx, "hubspot", "h"); return err })
			require.LessOrEqual(t, count("true")-before, int64(2*releaseChunk))
		}
	}
	gathered(fleet / releaseChunk / 2)
	require.NotEmpty(t, asked)
	exec(t, conn, "ANALYZE connections, waiting")
	last2 := len(asked) - 2 // the two reads of the last chunk
	for i, statement := range asked[last2:] {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			exec(t, conn, "SET plan_cache_mode = "+mode)
			rows := seenOf(t, conn, "connections", statement, literals(t, values[last2+i]))
			assert.LessOrEqual(t, rows, float64(2*dueRead), "%s: %s", mode, statement)
		}
	}
	for all := false; !all; {
		timed("gather", func() (err error) { all, err = s.gather(ctx, "hubspot", "h"); return err })
	}
	require.GreaterOrEqual(t, count("true"), int64(fleet))

	// The turns begin with two and double while the connections refresh.
	total := 0
	var sizes []int
	var last time.Time
	for deadline := time.Now().Add(time.Minute); total < 1_000; {
		require.True(t, time.Now().Before(deadline))
		var page []perennial.Connection
		timed("turns", func() (err error) {
			page, _, err = s.giveTurns(context.WithoutCancel(ctx), ReleaseRequest{App: "hubspot"}, "h")
			return err
		})
		require.LessOrEqual(t, len(page), releaseChunk)
		if len(page) == 0 {
			continue
		}
		sizes, total = append(sizes, len(page)), total+len(page)
		ids := make([]string, len(page))
		for i, c := range page {
			require.False(t, c.ExpiresAt.Before(last), "the earliest expiry first")
			last, ids[i] = c.ExpiresAt, c.ID
		}
		require.NoError(t, s.db.With(ctx).Table("connections").Where("id IN ?", ids).Updates(map[string]any{"queued_at": nil, "next_refresh_at": time.Now().Add(time.Hour)}).Error)
	}
	require.Equal(t, []int{2, 4, 8, 16, 32}, sizes[:5])
	for what, times := range took {
		slices.Sort(times)
		t.Logf("%s: %d transactions, median %s, p99 %s, longest %s", what, len(times), times[len(times)/2], times[len(times)*99/100], times[len(times)-1])
		assert.Less(t, times[len(times)/2], 2*time.Second, what)
	}
	assert.Less(t, took["begin"][0], 5*time.Second)
}

// goodProbe ends the outage of [fleetOfWaiting].
var goodProbe = NoteRequest{Connection: perennial.Connection{ID: "first", App: "hubspot", Host: "h"}, Outcome: perennial.OutcomeRefreshed, Interval: time.Minute}

// fleetOfWaiting returns a database with an open circuit behind which n connections
// wait, some of which will ask later, and a session on it.
func fleetOfWaiting(t testing.TB, n int) (*Store, *sql.Conn) {
	t.Helper()
	s, conn := fleetOfOne(t)
	exec(t, conn, "ALTER TABLE connections SET (autovacuum_enabled = false)")
	exec(t, conn, fmt.Sprintf(`INSERT INTO connections (id, tenant_id, app, provider, host, account_id, status, health, failing_code, generation, refresh_token_digest, next_refresh_at, expires_at, next_attempt_at, queued_at, created_at, updated_at)
		SELECT 'c' || lpad(n::text, 7, '0'), 't', 'hubspot', 'hubspot', 'h', n, 'active', 'healthy', '', 1, 'd', now() - interval '1 minute',
			now() + (n * 7919 %% 1800) * interval '1 second', now() + (n * 3571 %% 1200) * interval '1 second', now(), now(), now() FROM generate_series(1::bigint, %d) AS n`, n))
	exec(t, conn, fmt.Sprintf(`INSERT INTO circuits (app, host, reason, opened_at, next_probe_at, connections, updated_at)
		VALUES ('hubspot', 'h', 'unavailable', now() - interval '1 hour', now(), %d, now())`, n))
	return s, conn
}
