package perennial_test

import (
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

const (
	again        = "Reconnect HubSpot; your settings are kept."
	healthyWords = "Connected"
	failingWords = "Connected: HubSpot has not answered our latest renewals; we keep trying"
)

// TestDescribe shows the text for customers for every status, health and reason.
func TestDescribe(t *testing.T) {
	t.Parallel()
	type words struct{ text, action string }
	fixed := map[perennial.Status]words{
		perennial.StatusPaused:       {"Paused: no data is exchanged with HubSpot until it is resumed", "Resume the connection."},
		perennial.StatusDisconnected: {"Disconnected", "Connect HubSpot to use it again."},
	}
	reconnect := map[perennial.Reason]words{
		perennial.ReasonNone:           {"Reconnect needed: access to HubSpot has ended", again},
		perennial.ReasonInvalidGrant:   {"Reconnect needed: access was removed in HubSpot", again},
		perennial.ReasonRotationLost:   {"Reconnect needed: a renewal by HubSpot did not reach us; this was not your doing", again},
		perennial.ReasonNoRefreshToken: {"Reconnect needed: HubSpot gave no lasting access", again},
		perennial.ReasonGrantEnded:     {"Reconnect needed: the time that HubSpot allows for one consent has ended", again},
		perennial.ReasonIdleExpired:    {"Reconnect needed: the connection was not used for longer than HubSpot allows", again},
		perennial.ReasonScopesMissing:  {"Reconnect needed: a permission is missing in HubSpot", "Reconnect HubSpot and grant every permission it asks for."},
		perennial.ReasonOperator:       {"Reconnect needed: our support team asks you to connect HubSpot again", again},
		"of a newer version":           {"Reconnect needed: access to HubSpot has ended", again},
	}
	for _, reason := range perennial.Reasons {
		require.Contains(t, reconnect, reason, "every reason has words of its own")
	}
	for _, status := range perennial.Statuses {
		for _, health := range []perennial.Health{"", perennial.HealthHealthy, perennial.HealthFailing, "of a newer version"} {
			for reason, want := range reconnect {
				switch status {
				case perennial.StatusActive: // a stale reason changes nothing
					want = words{healthyWords, ""}
					if health == perennial.HealthFailing {
						want.text = failingWords
					}
				case perennial.StatusReconnectRequired: // nor does a health
				default:
					want = fixed[status]
				}
				got := perennial.Describe(status, health, reason, "HubSpot")
				require.Equal(t, want, words{got.String(), got.Action}, "%s %s %s", status, health, reason)
				require.NotContains(t, got.String()+got.Action, "{")
			}
		}
	}
}

// TestUnknownStatusIsNeverConnected: only an active connection is shown as connected.
func TestUnknownStatusIsNeverConnected(t *testing.T) {
	t.Parallel()
	for _, status := range []perennial.Status{"", "Active", "active ", "ACTIVE", "connected", "pending", "{p}"} {
		for _, health := range []perennial.Health{"", perennial.HealthHealthy, perennial.HealthFailing} {
			for _, reason := range append(perennial.Reasons, perennial.ReasonNone) {
				got := perennial.Describe(status, health, reason, "Connected Inc.")
				require.Equal(t, "Unknown", got.Label)
				require.NotEmpty(t, got.Action)
				require.False(t, strings.HasPrefix(got.String(), "Connected"))
			}
		}
	}
}

func TestTitleIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	for _, title := range []string{"", "{p}", "%s", "<b>", "QuickBooks"} {
		got := perennial.Describe(perennial.StatusReconnectRequired, "", perennial.ReasonInvalidGrant, title)
		require.Equal(t, "access was removed in "+title, got.Detail)
		require.Equal(t, "Reconnect "+title+"; your settings are kept.", got.Action)
	}
}
