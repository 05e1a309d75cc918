package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// patienceOfTest is two sweeps.
const patienceOfTest = 2 * time.Minute

// neglectCase is a connection, its gate, and when its app was served.
type neglectCase struct {
	name    string
	row     perennial.Connection
	circuit circuitRow
	app     appRow
	turn    string // its row among the waiting: "" none, "waits", "given"
	served  time.Time
}

// TestNeglected: the rule in SQL is the rule in Go, for rows that differ from a
// neglected one in one thing and for drawn ones that differ in several, with times on
// both sides of every bound.
func TestNeglected(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, c := range map[string]struct {
		open func(*testing.T) *Store
		near time.Duration // the shortest time that the database tells apart
	}{
		"PostgreSQL": {func(t *testing.T) *Store { return migrated(t, testpg.URL(t)) }, time.Microsecond},
		"SQLite":     {freshSQLite, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases := neglectCases(noon, c.near, rand.New(rand.NewPCG(seed, 0)), 600)
			checkNeglected(t, c.open(t), cases)
		})
	}
}

func plainNeglected(now time.Time) neglectCase {
	return neglectCase{name: "plain", row: perennial.Connection{TenantID: "acme", Provider: "hubspot", Host: "h", Cadence: "always", Status: "active", Health: "healthy",
		Generation: 5, RefreshTokenDigest: "d", NextRefreshAt: now.Add(-10 * time.Minute), ExpiresAt: now.Add(-5 * time.Minute), CreatedAt: now.Add(-time.Hour), UpdatedAt: now.Add(-time.Hour)}}
}

func neglectCases(now time.Time, near time.Duration, r *rand.Rand, drawn int) []neglectCase {
	type change struct {
		name string
		to   func(*neglectCase)
	}
	var things [][]change
	// times tries none, and times around now and around each bound before it.
	times := func(name string, to func(*neglectCase, time.Time)) {
		changes := []change{{name + " unset", func(c *neglectCase) { to(c, time.Time{}) }}}
		for _, bound := range []time.Duration{-time.Hour, -patienceOfTest, -settlesIn, -minPatience, 0, time.Hour} {
			for _, d := range []time.Duration{-near, 0, near} {
				if d == 0 && near > time.Microsecond {
					continue // the database rounds
				}
				changes = append(changes, change{fmt.Sprintf("%s at %s%+d", name, bound, d), func(c *neglectCase) { to(c, now.Add(bound+d)) }})
			}
		}
		things = append(things, changes)
	}
	thing := func(name string, values ...func(*neglectCase)) {
		var changes []change
		for i, to := range values {
			changes = append(changes, change{fmt.Sprintf("%s %d", name, i), to})
		}
		things = append(things, changes)
	}
	times("due", func(c *neglectCase, at time.Time) { c.row.NextRefreshAt = at })
	var buffers []func(*neglectCase)
	for _, buffer := range []time.Duration{-time.Hour, 0, time.Second, 3 * time.Second, 20 * time.Second, 2*time.Minute - 2*near, 4*time.Minute + 2*near, 20 * time.Minute} {
		for _, late := range []time.Duration{buffer/2 - near, buffer/2 + near, patienceOfTest + near} {
			buffers = append(buffers, func(c *neglectCase) {
				c.row.NextRefreshAt = now.Add(-late)
				c.row.ExpiresAt = c.row.NextRefreshAt.Add(buffer)
			})
		}
	}
	thing("buffer", buffers...)
	times("expires", func(c *neglectCase, at time.Time) { c.row.ExpiresAt = at })
	times("next attempt", func(c *neglectCase, at time.Time) { c.row.NextAttemptAt = at })
	times("confirm", func(c *neglectCase, at time.Time) { c.row.ConfirmAt = at })
	times("attempt until", func(c *neglectCase, at time.Time) { c.row.Open = perennial.OpenAttempt{ID: "a", Deadline: at} })
	times("an attempt left behind", func(c *neglectCase, at time.Time) { c.row.Open = perennial.OpenAttempt{Deadline: at} })
	times("queued", func(c *neglectCase, at time.Time) { c.row.QueuedAt = at })
	times("host slow", func(c *neglectCase, at time.Time) { c.circuit.SlowUntil = pointer(at) })
	times("app slow", func(c *neglectCase, at time.Time) { c.app.SlowUntil = pointer(at) })
	times("slot", func(c *neglectCase, at time.Time) { c.app.SlotAt = pointer(at) })
	times("backlog", func(c *neglectCase, at time.Time) { c.app.BacklogAt = pointer(at) })
	times("served", func(c *neglectCase, at time.Time) { c.served = at })
	thing("circuit", func(c *neglectCase) { c.circuit.Reason = "unavailable" },
		func(c *neglectCase) { c.circuit.Reason, c.circuit.UnprovenOnly = "unavailable", true },
		func(c *neglectCase) {
			c.circuit.Reason, c.circuit.UnprovenOnly, c.row.UnprovenSince = "unavailable", true, now.Add(-time.Hour)
		})
	times("next probe", func(c *neglectCase, at time.Time) {
		c.circuit.Reason, c.circuit.NextProbeAt = "unavailable", pointer(at)
	})
	for _, turn := range []string{"", "waits", "given"} {
		times("circuit releasing, turn "+turn, func(c *neglectCase, at time.Time) {
			c.circuit.Reason, c.circuit.OpenedAt, c.circuit.ReleasingAt, c.turn = "unavailable", pointer(now.Add(-time.Hour)), pointer(at), turn
			c.circuit.NextProbeAt = pointer(now)
		})
	}
	thing("failures", func(c *neglectCase) { c.row.FailureCount, c.row.Health, c.row.FailingCode = 7, "failing", "http_503" })
	thing("ambiguous", func(c *neglectCase) { c.row.AmbiguousSince, c.row.AmbiguousDigest = now.Add(-time.Hour), "d" })
	thing("suspect", func(c *neglectCase) { c.row.SuspectSince, c.row.SuspectDigest = now.Add(-time.Hour), "d" },
		func(c *neglectCase) { c.row.SuspectSince, c.row.SuspectDigest = now.Add(-time.Hour), "old" })
	thing("set aside", func(c *neglectCase) { c.row.SetAsideGeneration = 5 }, func(c *neglectCase) { c.row.SetAsideGeneration = 6 })
	var statuses []func(*neglectCase)
	for _, s := range perennial.Statuses {
		statuses = append(statuses, func(c *neglectCase) { c.row.Status = s })
	}
	thing("status", statuses...)

	cases := []neglectCase{plainNeglected(now)}
	for _, changes := range things {
		for _, change := range changes {
			c := plainNeglected(now)
			c.name = change.name
			change.to(&c)
			cases = append(cases, c)
		}
	}
	for range drawn {
		c := plainNeglected(now)
		for range 2 + r.IntN(3) {
			changes := things[r.IntN(len(things))]
			change := changes[r.IntN(len(changes))]
			c.name += "; " + change.name
			change.to(&c)
		}
		cases = append(cases, c)
	}
	return cases
}

func checkNeglected(t *testing.T, s *Store, cases []neglectCase) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, s.db.Durably(ctx, "insert the cases", func(tx *gorm.DB) error {
		for i := range cases {
			c := &cases[i]
			c.row.ID = fmt.Sprintf("%d", i)
			c.row.App, c.row.AccountID = c.row.ID, c.row.ID
			c.circuit.App, c.circuit.Host, c.circuit.UpdatedAt = c.row.App, c.row.Host, pointer(noon)
			c.app.App, c.app.UpdatedAt = c.row.App, pointer(noon)
			if err := errorsOf(connections.insert(tx, c.row, ""), tx.Create(&c.circuit).Error, tx.Create(&c.app).Error); err != nil {
				return err
			}
			if c.turn == "" {
				continue
			}
			w := waitingRow{ConnectionID: c.row.ID, App: c.row.App, Host: c.row.Host, ExpiresAt: pointer(noon)}
			if c.turn == "given" {
				w.TurnAt = pointer(noon)
			}
			if err := tx.Create(&w).Error; err != nil {
				return err
			}
		}
		return nil
	}))
	yes := 0
	for _, c := range cases {
		row := tidy(stored(t, s, c.row.ID))
		want := neglected(row, c.circuit, c.app, c.turn == "given", patienceOfTest, c.served, noon)
		var found []foundNeglected
		statement, args := s.neglectedRows(c.row.App, "", patienceOfTest, c.served, noon)
		require.NoError(t, s.db.With(ctx).Raw(statement, args...).Scan(&found).Error, c.name)
		require.Equal(t, want, len(found) == 1, "%s: %+v served %s", c.name, row, c.served)
		if want {
			yes++
			one, err := s.neglectedOf(ctx, c.row.App, c.row.ID, patienceOfTest, c.served, noon)
			require.NoError(t, err, c.name)
			require.Equal(t, found, one, c.name)
			require.Equal(t, row.NextRefreshAt, db.Time(found[0].DueAt), c.name)
			require.Equal(t, row.Suspect() || row.HasSetAside(), found[0].Left, c.name)
			require.Equal(t, row.Open.ID != "" || row.Ambiguous(), found[0].Doubtful, c.name)
		}
	}
	assert.Greater(t, yes, len(cases)/5, "too few are neglected for a comparison")
	assert.Less(t, yes, 4*len(cases)/5, "too many are neglected for a comparison")
}
