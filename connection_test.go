package perennial_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

// TestWithoutStale: for each status only the fields that are valid in it are shown. An
// active connection is shown whole.
func TestWithoutStale(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	whole := perennial.Connection{Status: perennial.StatusActive, Health: perennial.HealthFailing, FailingCode: "x", FailingSince: at, FailureCount: 3, NextRefreshAt: at,
		NextAttemptAt: at, SuspectSince: at, ConfirmAt: at, QueuedAt: at, ExpiresAt: at, RefreshTokenExpiresAt: at, GrantExpiresAt: at, AmbiguousSince: at, Generation: 7}
	require.Equal(t, whole, whole.WithoutStale())
	require.Empty(t, perennial.Outlook(perennial.StatusActive))
	for _, status := range perennial.Statuses[1:] {
		c := whole
		c.Status = status
		want := perennial.Connection{Status: status, Generation: 7}
		if status != perennial.StatusDisconnected {
			want.ExpiresAt, want.RefreshTokenExpiresAt, want.GrantExpiresAt, want.AmbiguousSince = at, at, at, at
		}
		require.Equal(t, want, c.WithoutStale())
		require.NotEmpty(t, perennial.Outlook(status))
	}
}

// TestWords: a failing code changes the text for the customer of an active, failing
// connection, and of no other.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, status := range perennial.Statuses {
		for _, health := range perennial.Healths {
			c := perennial.Connection{Status: status, Health: health, Reason: perennial.ReasonOperator, FailingCode: "invalid_client"}
			want := perennial.Describe(status, health, perennial.ReasonOperator, "HubSpot")
			if status == perennial.StatusActive && health == perennial.HealthFailing {
				want = perennial.DescribeFailing("invalid_client", "HubSpot")
			}
			require.Equal(t, want, c.Words("HubSpot"))
		}
	}
}

// TestFailingForLong: it counts from the first failure that made the health failing, and
// not for a connection that is refreshed and failing for another cause.
func TestFailingForLong(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	since := func(d time.Duration, change func(*perennial.Connection)) bool {
		c := perennial.Connection{Status: perennial.StatusActive, Health: perennial.HealthFailing, FailureCount: 1, FailingSince: now.Add(-d)}
		if change != nil {
			change(&c)
		}
		return c.FailingForLong(now)
	}
	for name, got := range map[string]bool{
		"a day":           !since(perennial.LongFailing, nil),
		"nearly a day":    since(perennial.LongFailing-1, nil),
		"refreshed":       since(2*perennial.LongFailing, func(c *perennial.Connection) { c.FailureCount = 0 }),
		"paused":          since(2*perennial.LongFailing, func(c *perennial.Connection) { c.Status = perennial.StatusPaused }),
		"healthy":         since(2*perennial.LongFailing, func(c *perennial.Connection) { c.Health = perennial.HealthHealthy }),
		"no time on file": since(2*perennial.LongFailing, func(c *perennial.Connection) { c.FailingSince = time.Time{} }),
	} {
		if got {
			t.Error(name)
		}
	}
}
