package workflows

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

func longestGap(times []time.Time) time.Duration {
	var gap time.Duration
	for i := 1; i < len(times); i++ {
		gap = max(gap, times[i].Sub(times[i-1]))
	}
	return gap
}

func TestYearOfHalfHourTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(30*time.Minute, 0)
	runs := w.live(t, Options{}, 365*day)
	assert.Empty(t, w.problems)
	// Due between 22 and 25 min: a year has 525,600 min.
	assert.GreaterOrEqual(t, len(w.refreshedAt), 525600/25)
	assert.LessOrEqual(t, len(w.refreshedAt), 525600/22+1)
	assert.LessOrEqual(t, longestGap(w.refreshedAt), 25*time.Minute)
	assert.Equal(t, len(w.refreshedAt)/24, runs-1, "every run but the last has 24 refreshes")
}

func TestHundredIdleDays(t *testing.T) {
	t.Parallel()
	for name, life := range map[string]time.Duration{"1 hour": time.Hour, "30 days": 30 * day, "no life known": 0} {
		w := newWorld(life, 100*day)
		if life == 0 {
			w.life = 365 * day // the test is about the row's own due time
			w.c.ExpiresAt, w.c.NextRefreshAt = time.Time{}, w.now.Add(365*day)
		}
		w.live(t, Options{}, 100*day)
		assert.Empty(t, w.problems, name)
		assert.Equal(t, perennial.StatusActive, w.c.Status, name)
		assert.LessOrEqual(t, longestGap(w.refreshedAt), day, "%s: no refresh token goes unused for more than a day", name)
	}
}

// TestQuietDaysCostLittle: Temporal bills at most three actions a day for a connection
// that no product uses, and for one that pacers refresh.
func TestQuietDaysCostLittle(t *testing.T) {
	t.Parallel()
	const days = 100
	for name, w := range map[string]*world{"on_use": newWorld(30*time.Minute, 0), "on_use, idle clock": newWorld(time.Hour, 30*day), "pooled": newWorld(30*time.Minute, 0)} {
		if name == "pooled" {
			w.pacers, w.paced = 1, true
		} else {
			w.c.Cadence = perennial.CadenceOnUse
			w.c.CreatedAt, w.c.LastUsedAt = w.now.Add(-30*day), w.now.Add(-30*day)
			w.store(w.now)
		}
		w.live(t, Options{}, days*day)
		assert.Equal(t, perennial.StatusActive, w.c.Status, name)
		assert.GreaterOrEqual(t, w.actions, days, "%s: its workflow looks once a day", name)
		assert.LessOrEqual(t, w.actions, 3*days, name)
		t.Logf("%s: %d actions in %d days, %d refreshes", name, w.actions, days, len(w.refreshedAt))
	}
}

func TestPausedKeepsTheIdleClock(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 100*day)
	w.status(perennial.StatusPaused)()
	w.live(t, Options{}, 200*day)
	require.Empty(t, w.problems)
	assert.Equal(t, perennial.StatusPaused, w.c.Status)
	assert.Len(t, w.refreshedAt, 6, "every 30 days, not every hour")
	assert.Equal(t, map[perennial.Trigger]int{perennial.TriggerKeepAlive: 6}, w.triggers)
}
