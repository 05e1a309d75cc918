package store_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/require"
)

func ids(cs []perennial.Connection) map[string]bool {
	out := map[string]bool{}
	for _, c := range cs {
		out[c.ID] = true
	}
	return out
}

// set writes a column without the store, as a faulty program would.
func (b *bundle) set(t *testing.T, id, column, value string) {
	t.Helper()
	b.Exec(t, "UPDATE connections SET "+column+" = "+value+" WHERE id = '"+id+"'")
}

func stampText(at time.Time) string {
	return "'" + at.UTC().Format("2006-01-02 15:04:05.999999-07:00") + "'"
}

// testSweep: the sweep finds every row that no workflow looks after, and no other.
func testSweep(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	make := func(change func(id string)) string {
		c := b.connect(t)
		b.set(t, c.ID, "next_refresh_at", stampText(now.Add(10*time.Hour)))
		b.set(t, c.ID, "expires_at", stampText(now.Add(11*time.Hour)))
		change(c.ID)
		return c.ID
	}
	to := func(column string, d time.Duration) func(string) {
		return func(id string) { b.set(t, id, column, stampText(now.Add(d))) }
	}
	all := func(changes ...func(string)) func(string) {
		return func(id string) {
			for _, change := range changes {
				change(id)
			}
		}
	}
	null := func(column string) func(string) { return func(id string) { b.set(t, id, column, "NULL") } }
	one := func(column, value string) func(string) { return func(id string) { b.set(t, id, column, value) } }
	overdue := map[string]string{
		"past its due time":      make(to("next_refresh_at", -2*time.Minute)),
		"past its waits":         make(all(to("next_refresh_at", -time.Hour), to("next_attempt_at", -2*time.Minute))),
		"a lost attempt, due":    make(all(to("next_refresh_at", -time.Hour), one("attempt_id", "'a'"), to("attempt_deadline", -2*time.Minute))),
		"due a hundred days ago": make(to("next_refresh_at", -2400*time.Hour)),
	}
	doubtful := map[string]string{
		"no due time":                     make(null("next_refresh_at")),
		"due in a year":                   make(all(to("next_refresh_at", 8760*time.Hour), to("expires_at", 9000*time.Hour))),
		"due after its token's end":       make(to("expires_at", time.Hour)),
		"no life known, due in an hour":   make(all(null("expires_at"), to("next_refresh_at", time.Hour))),
		"waits for a year":                make(to("next_attempt_at", 8760*time.Hour)),
		"confirmed in a year":             make(to("confirm_at", 8760*time.Hour)),
		"an attempt of a year":            make(all(one("attempt_id", "'a'"), to("attempt_deadline", 8760*time.Hour))),
		"a lost attempt, not due":         make(all(one("attempt_id", "'a'"), to("attempt_deadline", -2*time.Minute))),
		"a failure, waited for":           make(all(one("failure_count", "1"), to("next_attempt_at", -2*time.Minute))),
		"paused for eight days":           make(all(one("status", "'paused'"), to("last_refreshed_at", -8*24*time.Hour))),
		"paused, past half its idle life": make(all(one("status", "'paused'"), to("last_refreshed_at", -3*24*time.Hour), to("refresh_token_expires_at", 48*time.Hour))),
		"a refusal to confirm":            make(all(to("suspect_since", -time.Hour), to("confirm_at", -2*time.Minute))),
	}
	fine := map[string]string{
		"not due":                           make(func(string) {}),
		"within the grace":                  make(to("next_refresh_at", -30*time.Second)),
		"waits":                             make(all(to("next_refresh_at", -time.Hour), to("next_attempt_at", time.Hour))),
		"waits a day":                       make(all(to("next_refresh_at", -time.Hour), to("next_attempt_at", 25*time.Hour))),
		"confirms":                          make(all(to("next_refresh_at", -time.Hour), to("suspect_since", -time.Hour), to("confirm_at", time.Second))),
		"an attempt is open":                make(all(to("next_refresh_at", -time.Hour), one("attempt_id", "'a'"), to("attempt_deadline", time.Minute))),
		"paused":                            make(all(to("next_refresh_at", -time.Hour), one("status", "'paused'"))),
		"paused, before half its idle life": make(all(one("status", "'paused'"), to("last_refreshed_at", -20*24*time.Hour), to("refresh_token_expires_at", 21*24*time.Hour))),
		"needs its user":                    make(all(to("next_refresh_at", -time.Hour), one("status", "'reconnect_required'"))),
		"disconnected":                      make(all(null("next_refresh_at"), one("status", "'disconnected'"))),
		"no life known, soon":               make(all(null("expires_at"), to("next_refresh_at", 20*time.Minute))),
	}
	got, err := b.Overdue(t.Context(), time.Minute, 1000)
	require.NoError(t, err)
	found := ids(got)
	for name, id := range overdue {
		require.True(t, found[id], name)
	}
	require.Equal(t, overdue["due a hundred days ago"], got[0].ID, "the latest first")
	require.Len(t, got, len(overdue))

	seen := map[string]bool{}
	for after := ""; ; {
		page, err := b.InDoubt(t.Context(), time.Minute, after, 3)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			require.False(t, seen[c.ID], "read once")
			seen[c.ID] = true
		}
		after = page[len(page)-1].ID
	}
	for name, id := range doubtful {
		require.True(t, seen[id], name)
	}
	for name, id := range fine {
		require.False(t, seen[id] || found[id], name)
	}
}

// testSweepTurns: the sweep finds an app's overdue connections even if another app has
// many that are overdue for longer.
func testSweepTurns(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	var late []perennial.Connection
	for i, n := range []int{5, 2, 1} {
		for j, c := range b.app(t, n) {
			b.set(t, c.ID, "next_refresh_at", stampText(now.Add(time.Duration(i+j-10)*time.Hour)))
			late = append(late, c)
		}
	}
	got, err := b.Overdue(t.Context(), time.Minute, 5)
	require.NoError(t, err)
	require.Len(t, got, 5)
	found := ids(got)
	for _, i := range []int{0, 1, 5, 6, 7} { // the first two of each app, if it has as many
		require.True(t, found[late[i].ID], i)
	}
	require.Equal(t, ids([]perennial.Connection{late[0], late[5], late[7]}), ids(got[:3]), "each app's first come first")
}

// testAbsurdAgrees: the database and the engine agree which times are absurd.
func testAbsurdAgrees(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	spans := []time.Duration{-1000 * time.Hour, -25 * time.Hour, -time.Hour, -time.Minute, time.Minute, 20 * time.Minute, 40 * time.Minute, 23 * time.Hour, 26 * time.Hour, 400 * time.Hour, 1000 * time.Hour}
	absurd := map[string]bool{}
	for range 90 {
		c := b.connect(t)
		for _, column := range []string{"next_refresh_at", "expires_at", "last_refreshed_at", "refresh_token_expires_at"} {
			if r.IntN(6) == 0 && column != "last_refreshed_at" {
				b.set(t, c.ID, column, "NULL")
				continue
			}
			b.set(t, c.ID, column, stampText(now.Add(spans[r.IntN(len(spans))])))
		}
		b.set(t, c.ID, "created_at", stampText(now.Add(-2000*time.Hour)))
		if r.IntN(3) == 0 {
			b.set(t, c.ID, "cadence", "'on_use'")
		}
		absurd[c.ID] = timing.ImplausibleDue(b.row(t, c.ID), now)
	}
	got, err := b.InDoubt(t.Context(), 0, "", 1000)
	require.NoError(t, err)
	found := ids(got)
	n := 0
	for id, want := range absurd {
		require.Equal(t, want, found[id], "%+v", b.row(t, id))
		if want {
			n++
		}
	}
	require.Greater(t, n, 10)
	require.Less(t, n, 85)
}

func testWarn(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	c := b.connect(t)
	b.set(t, c.ID, "grant_expires_at", stampText(now.Add(20*24*time.Hour)))
	b.set(t, c.ID, "refresh_token_expires_at", stampText(now.Add(6*time.Hour)))
	n, err := b.Warn(t.Context(), 100)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = b.Warn(t.Context(), 100)
	require.NoError(t, err)
	require.Zero(t, n, "once")
	b.set(t, c.ID, "grant_expires_at", stampText(now.Add(20*24*time.Hour-25*time.Hour)))
	n, err = b.Warn(t.Context(), 100)
	require.NoError(t, err)
	require.Equal(t, 1, n, "another end")
	all, err := b.Events(t.Context(), c.ID, 10)
	require.NoError(t, err)
	require.Equal(t, perennial.EventExpiringSoon, all[0].Type)
	require.Equal(t, "grant", all[0].Data.Clock)
	require.Equal(t, 30, all[0].Data.Days)
	require.NotZero(t, all[0].Data.EndsAt)
}

func testPrune(t *testing.T, b *bundle) {
	c := b.connect(t)
	for range 3 {
		c = b.claimed(t, c, lease, single)
		row, _, err := b.CloseAttempt(t.Context(), closeRequest(c, perennial.OutcomeUnavailable))
		require.NoError(t, err)
		c = row
	}
	n, err := b.Prune(t.Context(), time.Hour, 100)
	require.NoError(t, err)
	require.Zero(t, n)
	b.Exec(t, "UPDATE outbox SET delivered_at = created_at")
	b.Until(t, c.UpdatedAt.Add(time.Millisecond))
	n, err = b.Prune(t.Context(), time.Nanosecond, 2)
	require.NoError(t, err)
	require.EqualValues(t, 3, n, "two lines and the one event")
	require.Len(t, b.outcomes(t, c.ID), 1)
}
