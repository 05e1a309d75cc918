package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestReleaseRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		limit       float64
		connections int64
		want        float64
	}{
		{"a small app", 0, 5000, DefaultReleaseRate},
		{"as many as the default lets through in ten minutes", 0, 60_000, DefaultReleaseRate},
		{"a large app: all in ten minutes", 0, 240_000, 400},
		{"a large app under its limit", 120, 240_000, 100},
		{"a small app under its limit", 12, 5000, 10},
	} {
		assert.InDelta(t, c.want, ReleaseRate(c.limit, c.connections), 1e-9, c.name)
	}
}

// TestReleaseKeepsPace: under a limit, each released connection finds a slot within its
// patience.
func TestReleaseKeepsPace(t *testing.T) {
	t.Parallel()
	const limit = 400
	gap := time.Duration(float64(time.Second) / ReleaseRate(limit, 240_000))
	var turns RateSlots
	for n := range 10_000 {
		var admitted bool
		_, admitted, turns = turns.Reserve("con", true, limit, time.Second/2, 50*time.Millisecond, noon.Add(time.Duration(n/releaseBatch*releaseBatch)*gap))
		assert.True(t, admitted, n)
	}
}
