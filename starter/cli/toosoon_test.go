package cli

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

// TestTooSoonText: whoever asks too soon hears the reason, and nothing that does not help.
func TestTooSoonText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	retryAt := now.Add(9 * time.Minute)
	forced := perennial.Connection{ForcedAt: now.Add(-time.Minute)}
	assert.Equal(t, "It was refreshed 1m0s ago because a caller asked, before one was due; it may be again at "+instant(retryAt)+", in 9m0s. `perennial refresh --now` does not wait.",
		tooSoonText(forced, false, retryAt, now))
	for _, c := range []perennial.Connection{{}, forced} {
		assert.Equal(t, "Its provider refreshes an access token only shortly before its end, and would refuse now; it will be refreshed at "+instant(retryAt)+", in 9m0s or soon after.",
			tooSoonText(c, true, retryAt, now))
	}
}
