package timing

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

// TestFloor: there is a floor unless it is switched off, and none that is forgotten before
// it ends.
func TestFloor(t *testing.T) {
	t.Parallel()
	require.Equal(t, perennial.Floor{First: 10 * time.Second, Longest: 10 * time.Minute}, Config{}.WithDefaults().Floor())
	for _, c := range []Config{{}, {ForcedFloor: NoFloor}, {ForcedFloor: time.Minute, ForcedFloorMax: time.Minute}, {ForcedFloorMax: perennial.ForcedForgotten}} {
		require.NoError(t, c.WithDefaults().Validate(1), c)
	}
	for wrong, c := range map[string]Config{
		"forced_floor (1m1s) must be at most forced_floor_max (1m0s)": {ForcedFloor: 61 * time.Second, ForcedFloorMax: time.Minute},
		"forced_floor_max (20m0.000000001s) must be at most 20m0s":    {ForcedFloorMax: perennial.ForcedForgotten + 1},
		"forced_floor (-2ns)": {ForcedFloor: -2},
	} {
		require.ErrorContains(t, c.WithDefaults().Validate(1), wrong)
	}
	require.LessOrEqual(t, Config{ForcedFloor: NoFloor}.WithDefaults().Floor().First, time.Duration(0))
}
