package words_test

import (
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/require"
)

const (
	again        = "Reconnect HubSpot; your settings are kept."
	healthyWords = "Connected"
	failingWords = "Connected: our latest renewals with HubSpot did not succeed; we keep trying"
)

// TestDescribe shows the text for customers for every status, health and reason.
func TestDescribe(t *testing.T) {
	t.Parallel()
	type shown struct{ text, action string }
	fixed := map[words.Status]shown{
		words.StatusPaused:       {"Paused: no data is exchanged with HubSpot until it is resumed", "Resume the connection."},
		words.StatusDisconnected: {"Disconnected", "Connect HubSpot to use it again."},
	}
	reconnect := map[words.Reason]shown{
		words.ReasonNone:           {"Reconnect needed: access to HubSpot has ended", again},
		words.ReasonInvalidGrant:   {"Reconnect needed: access was removed in HubSpot", again},
		words.ReasonRotationLost:   {"Reconnect needed: a renewal by HubSpot did not reach us; this was not your doing", again},
		words.ReasonNoRefreshToken: {"Reconnect needed: HubSpot gave no lasting access", again},
		words.ReasonGrantEnded:     {"Reconnect needed: the time that HubSpot allows for one consent has ended", again},
		words.ReasonCredentials:    {"Reconnect needed: HubSpot no longer accepts the credentials that were entered", "Restore the access in HubSpot, or enter new credentials; your settings are kept."},
		words.ReasonSignInRequired: {"Reconnect needed: HubSpot asks you to sign in or to agree again", again},
		words.ReasonGrantReplaced:  {"Reconnect needed: HubSpot allows one user only so many connections at a time, and a newer one has ended this", again},
		words.ReasonIdleExpired:    {"Reconnect needed: the connection was not used for longer than HubSpot allows", again},
		words.ReasonScopesMissing:  {"Reconnect needed: a permission is missing in HubSpot", "Reconnect HubSpot and grant every permission it asks for."},
		words.ReasonOperator:       {"Reconnect needed: our support team asks you to connect HubSpot again", again},
		"of a newer version":       {"Reconnect needed: access to HubSpot has ended", again},
	}
	for _, reason := range words.Reasons {
		require.Contains(t, reconnect, reason, "every reason has words of its own")
	}
	for _, status := range words.Statuses {
		for _, health := range []words.Health{"", words.HealthHealthy, words.HealthFailing, "of a newer version"} {
			for reason, want := range reconnect {
				switch status {
				case words.StatusActive: // a stale reason changes nothing
					want = shown{healthyWords, ""}
					if health == words.HealthFailing {
						want.text = failingWords
					}
				case words.StatusReconnectRequired: // nor does a health
				default:
					want = fixed[status]
				}
				got := words.Describe(status, health, reason, "HubSpot")
				require.Equal(t, want, shown{got.String(), got.Action}, "%s %s %s", status, health, reason)
				require.NotContains(t, got.String()+got.Action, "{")
			}
		}
	}
}

// TestUnknownStatusIsNeverConnected: only an active connection is shown as connected.
func TestUnknownStatusIsNeverConnected(t *testing.T) {
	t.Parallel()
	for _, status := range []words.Status{"", "Active", "active ", "ACTIVE", "connected", "pending", "{p}"} {
		for _, health := range []words.Health{"", words.HealthHealthy, words.HealthFailing} {
			for _, reason := range append(words.Reasons, words.ReasonNone) {
				got := words.Describe(status, health, reason, "Connected Inc.")
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
		got := words.Describe(words.StatusReconnectRequired, "", words.ReasonInvalidGrant, title)
		require.Equal(t, "access was removed in "+title, got.Detail)
		require.Equal(t, "Reconnect "+title+"; your settings are kept.", got.Action)
	}
}

// TestDescribeMissing: it blames nobody for the missing permission.
func TestDescribeMissing(t *testing.T) {
	t.Parallel()
	got := words.DescribeMissing("{p}")
	require.Equal(t, "Connected: a permission is missing in {p}; what needs it does not work", got.String())
	require.Equal(t, "Reconnect {p} and grant every permission it asks for.", got.Action)
}
