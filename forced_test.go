package perennial

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFloor: the wait doubles up to the longest, for any count.
func TestFloor(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	usual := Floor{First: 10 * time.Second, Longest: 10 * time.Minute}
	for _, tt := range []struct {
		floor Floor
		count int
		want  time.Duration
	}{
		{usual, 1, 10 * time.Second}, {usual, 2, 20 * time.Second}, {usual, 6, 320 * time.Second}, {usual, 7, 10 * time.Minute}, {usual, 65, 10 * time.Minute},
		{usual, math.MaxInt, 10 * time.Minute}, {usual, 0, 10 * time.Second}, {usual, math.MinInt, 10 * time.Second},
		{Floor{First: time.Minute}, 5, time.Minute},                                     // no longest one
		{Floor{First: time.Hour, Longest: math.MaxInt64}, math.MaxInt, ForcedForgotten}, // nothing is held longer than it is known
		{Floor{Longest: time.Hour}, 5, 0}, {Floor{First: -1, Longest: time.Hour}, 5, 0},
	} {
		c := Connection{ForcedAt: now, ForcedCount: tt.count, NextRefreshAt: now.Add(24 * time.Hour)}
		until := tt.floor.Until(c, now)
		if tt.want == 0 {
			require.Zero(t, until)
		} else {
			require.Equal(t, tt.want, until.Sub(now), "%+v", tt)
		}
	}
	c := Connection{ForcedAt: now, ForcedCount: 3, NextRefreshAt: now.Add(time.Second), ExpiresAt: now.Add(time.Minute)}
	require.Equal(t, now.Add(time.Second), usual.Until(c, now), "it is due then")
	c.NextRefreshAt, c.ExpiresAt = now.Add(time.Hour), now.Add(time.Millisecond)
	require.Equal(t, now.Add(time.Millisecond), usual.Until(c, now), "there is no token then")
	require.Zero(t, usual.Until(c, now.Add(-1)), "the clock went back")
	require.Zero(t, usual.Until(Connection{NextRefreshAt: now.Add(time.Hour)}, now))

	// The provider refreshes only near the end: the first forced refresh waits too, until
	// then or until the connection is due.
	for _, late := range []Floor{{OpensBefore: time.Minute}, {First: -1, OpensBefore: time.Minute}, {First: 10 * time.Second, OpensBefore: time.Minute}} {
		c := Connection{NextRefreshAt: now.Add(9*time.Minute + 5*time.Second), ExpiresAt: now.Add(10 * time.Minute)}
		require.Equal(t, now.Add(9*time.Minute), late.Until(c, now), late)
		c.NextRefreshAt = now.Add(time.Minute)
		require.Equal(t, now.Add(time.Minute), late.Until(c, now), late)
		c.ForcedAt, c.ForcedCount = now.Add(-time.Second), 1
		require.Equal(t, now.Add(time.Minute), late.Until(c, now), "the later of both")
		require.Zero(t, late.Until(Connection{NextRefreshAt: now.Add(time.Hour)}, now), "no end is known")
	}
}
