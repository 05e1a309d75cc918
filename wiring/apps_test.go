package wiring

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/stretchr/testify/assert"
)

// TestAStopWaitsForNoCanary: a worker that stops gives up the canaries whose time has not
// come. Without an engine, presenting one panics.
func TestAStopWaitsForNoCanary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := (&Deps{}).newAppKeeper(nil, nil, &refresh.Fallback{})
		began := time.Now()
		k.refreshHere(t.Context(), perennial.Connection{ID: "con_1", NextAttemptAt: began.Add(2 * time.Second)})
		synctest.Wait()
		k.end()
		assert.Zero(t, time.Since(began))
	})
}
