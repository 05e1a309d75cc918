package activities

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestCallsWaitForThoseWhoGo: as many connections are called as have gone. If none
// goes, the others are called anyway.
func TestCallsWaitForThoseWhoGo(t *testing.T) {
	t.Parallel()
	c := releaseProgress{ahead: 200, refreshed: math.MinInt}
	still := 0
	for range 50 { // sixty go between two looks
		room := c.room(still)
		assert.LessOrEqual(t, still+room, 200)
		c.signalled += room
		still += room - 60
	}
	assert.Equal(t, 140, still)
	for range releaseStalled { // none goes
		room := c.room(still)
		assert.LessOrEqual(t, still+room, 200)
		c.signalled += room
		still += room
	}
	assert.Equal(t, 200, still)
	assert.Equal(t, 200, c.room(still))
}
