package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestForcedUntil: the wait doubles with each forced refresh of a row of them.
func TestForcedUntil(t *testing.T) {
	t.Parallel()
	ago := func(all ...time.Duration) (at []time.Time) {
		for _, d := range all {
			at = append(at, noon.Add(-d))
		}
		return at
	}
	for name, c := range map[string]struct {
		at   []time.Time
		want time.Duration // after the newest
	}{
		"none":                    {},
		"one":                     {ago(time.Second), 10 * time.Second},
		"one, long ago":           {ago(forcedApart + 1), 0},
		"two":                     {ago(time.Second, time.Minute), 20 * time.Second},
		"two that are far apart":  {ago(time.Second, forcedApart+time.Second+1), 10 * time.Second},
		"four":                    {ago(1, 2, 3, 4), 80 * time.Second},
		"eight":                   {ago(1, 2, 3, 4, 5, 6, 7, 8), 10 * time.Minute},
		"at the longest distance": {ago(forcedCap, forcedCap+forcedApart), 20 * time.Second},
	} {
		got := forcedUntil(c.at, noon)
		if c.want == 0 {
			assert.Zero(t, got, name)
			continue
		}
		assert.Equal(t, c.at[0].Add(c.want), got, name)
	}
}
