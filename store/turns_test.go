package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestReleaseRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		asked, limit float64
		connections  int64
		want         float64
	}{
		{"a small app", 0, 0, 5000, DefaultRelease},
		{"as many as the default lets through in ten minutes", 0, 0, 60_000, DefaultRelease},
		{"a large app: all in ten minutes", 0, 0, 240_000, 400},
		{"a large app under its limit", 0, 100, 240_000, 100},
		{"a small app under its limit", 0, 10, 5000, 10},
		{"asked for", 7, 0, 240_000, 7},
		{"asked for more than the limit", 70, 10, 5, 10},
	} {
		assert.Equal(t, c.want, ReleaseRate(c.asked, c.limit, c.connections), c.name)
	}
}

// TestReleaseKeepsPace: what is let go finds a slot each, within patience, also
// while as many become due as a large app has in half an hour.
func TestReleaseKeepsPace(t *testing.T) {
	t.Parallel()
	const connections = 240_000
	rate := ReleaseRate(0, 0, connections)
	assert.Greater(t, rate/spacing, connections/(25*time.Minute).Seconds(), "more than become due")
	gap := time.Duration(float64(time.Second) / rate * spacing)
	var turns Turns
	for n := range 10_000 {
		var admitted bool
		_, admitted, turns = turns.Take("con", true, rate, time.Second/2, 50*time.Millisecond, noon.Add(time.Duration(n/releaseBatch*releaseBatch)*gap))
		assert.True(t, admitted, n)
	}
}
