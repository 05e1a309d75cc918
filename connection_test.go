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
