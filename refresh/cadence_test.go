package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOnUse: a connection that no product has used for a day is refreshed once a day.
// As soon as a caller waits for a token, it is refreshed as often as its token needs.
func TestOnUse(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	app := provider.App{Buffer: provider.BufferQueue}
	set := perennial.TokenSet{AccessToken: perennial.NewSecret("a"), ExpiresIn: 30 * time.Minute}
	for name, test := range map[string]struct {
		cadence perennial.Cadence
		used    time.Duration // so long ago; 0: never
		created time.Duration
		daily   bool
	}{
		"always, unused":              {perennial.CadenceAlways, 0, 90 * 24 * time.Hour, false},
		"no cadence":                  {"", 0, 90 * 24 * time.Hour, false},
		"used yesterday":              {perennial.CadenceOnUse, 24*time.Hour + time.Nanosecond, 90 * 24 * time.Hour, true},
		"used a day ago to the point": {perennial.CadenceOnUse, 24 * time.Hour, 90 * 24 * time.Hour, false},
		"never used":                  {perennial.CadenceOnUse, 0, 90 * 24 * time.Hour, true},
		"new":                         {perennial.CadenceOnUse, 0, time.Hour, false},
	} {
		c := perennial.Connection{ID: "con_1", Status: perennial.StatusActive, Health: perennial.HealthHealthy, Cadence: test.cadence, CreatedAt: start.Add(-test.created)}
		if test.used > 0 {
			c.LastUsedAt = start.Add(-test.used)
		}
		w, err := Tokens(plain{}, app, c, 2, set, perennial.NewSecret("r"), start)
		require.NoError(t, err)
		rest := w.NextRefreshAt.Sub(start)
		assert.Equal(t, test.daily, rest > 30*time.Minute, "%s: %s", name, rest)
		assert.LessOrEqual(t, rest, 24*time.Hour, name)
		c.LastRefreshedAt, c.NextRefreshAt, c.ExpiresAt = start, w.NextRefreshAt, w.ExpiresAt
		assert.False(t, timing.ImplausibleDue(c, start.Add(time.Hour)), name)
		at, trigger := timing.Wake(c, start.Add(time.Minute))
		assert.Equal(t, w.NextRefreshAt, at, name)
		assert.Equal(t, perennial.TriggerTimer, trigger, name)
	}

	// The provider's idle limit comes first.
	c := perennial.Connection{ID: "con_1", Cadence: perennial.CadenceOnUse, CreatedAt: start.Add(-90 * 24 * time.Hour)}
	set.RefreshTokenExpiresIn = 4 * time.Hour
	w, err := Tokens(plain{}, app, c, 2, set, perennial.NewSecret("r"), start)
	require.NoError(t, err)
	assert.LessOrEqual(t, w.NextRefreshAt.Sub(start), 2*time.Hour)

	// A row that was on_use before is due at once.
	c.Cadence, c.CreatedAt, c.NextRefreshAt, c.ExpiresAt = perennial.CadenceAlways, start, start.Add(20*time.Hour), start.Add(time.Hour)
	assert.True(t, timing.ImplausibleDue(c, start))
}

// TestRequestIsUse: a request for a refresh counts as use of the connection.
func TestRequestIsUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for trigger, daily := range map[perennial.Trigger]bool{perennial.TriggerTimer: true, perennial.TriggerRequest: false} {
		row := b.c
		row.Cadence, row.CreatedAt = perennial.CadenceOnUse, time.Now().Add(-9*24*time.Hour)
		row.Open.StartedAt = time.Now()
		a := &attempt{Engine: b.Engine, app: b.app, row: row, now: time.Now(), req: Request{Trigger: trigger}}
		req, err := a.saveRequest(fresh("2"), perennial.NewSecret("refresh 1"))
		require.NoError(t, err)
		assert.Equal(t, daily, req.NextRefreshAt.After(req.ExpiresAt), trigger)
	}
}
