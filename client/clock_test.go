package client

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestClocks: a wrong clock changes no decision, by whatever amount, and is reported
// once.
func TestClocks(t *testing.T) {
	t.Parallel()
	for skew, warns := range map[time.Duration]bool{0: false, 30 * time.Second: false, 30*time.Second + 1: true, -31 * time.Second: true, 10 * time.Hour: true, -10 * time.Hour: true} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.skew = skew
				b.backend.token(30 * time.Minute)
				assert.Equal(t, 30*time.Minute, time.Until(b.get().ExpiresAt), "by this clock")
				assert.Equal(t, skew, b.ClockOffset())
				assert.Equal(t, skew, b.seen.offset)
				time.Sleep(28 * time.Minute)
				assert.EqualValues(t, 2, b.get().Generation)
				assert.Zero(t, b.backend.refreshes)
				time.Sleep(time.Nanosecond)
				b.get()
				assert.Equal(t, 1, b.backend.refreshes)
				time.Sleep(time.Minute)
				b.get()
				want := 0
				if warns {
					want = 1
				}
				assert.Equal(t, want, count(b.logs.String(), "level=WARN"), b.logs.String())
			})
		})
	}
}

// TestSlowClock: no warning if a slow answer explains the difference.
func TestSlowClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.skew, b.backend.loadTakes = 29500*time.Millisecond, 2*time.Second
		b.get()
		assert.Equal(t, 30500*time.Millisecond, b.ClockOffset())
		assert.Zero(t, count(b.logs.String(), "level=WARN"))
		b.backend.skew = 31 * time.Second
		time.Sleep(time.Minute)
		b.get()
		assert.Equal(t, 1, count(b.logs.String(), "level=WARN"))
		b.backend.skew = 0
		time.Sleep(time.Minute)
		b.get()
		assert.Equal(t, 1, count(b.logs.String(), "agree again"))
	})
}
