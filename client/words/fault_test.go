package words_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
)

// TestFailingTexts: a customer reads that the provider does not answer only if that is
// so, and is never asked to do something while we keep trying.
func TestFailingTexts(t *testing.T) {
	t.Parallel()
	silent := []string{"timeout", "dns", "connection_refused", "connection_lost", "not_sent_or_lost", "http_500", "http_503", "HTTP_504"}
	ours := []string{"invalid_client", "INVALID_CLIENT", "BAD_CLIENT_SECRET", "unauthorized_client", "app_not_configured", "client_id_mismatch", "not_opened", "not_sealed", "set_aside", "redirected"}
	waits := []string{"circuit_open", "slow_down", "rate_limit"}
	others := []string{"held_terminal", "never_worked", "http_403", "malformed_reply", "invalid_request", "no_lifetime", "attempt_lost", "", "of a newer version", "{p}"}
	for _, code := range slices.Concat(silent, ours, waits, others) {
		got := words.DescribeFailing(code, "HubSpot")
		assert.Equal(t, "Connected", got.Label, code)
		assert.Empty(t, got.Action, code)
		assert.Contains(t, got.Detail, "HubSpot", code)
		assert.NotContains(t, got.Detail, "{", code)
		assert.Equal(t, slices.Contains(silent, code), strings.Contains(got.Detail, "has not answered"), code)
		assert.Equal(t, slices.Contains(ours, code), strings.Contains(got.Detail, "on our side"), code)
		assert.Equal(t, slices.Contains(waits, code), strings.Contains(got.Detail, "wait their turn"), code)
	}
}

func TestFaultOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]words.Fault{
		"invalid_grant": words.FaultGrant, "Invalid_Client": words.FaultClient, "BAD_CLIENT_SECRET": words.FaultClient, "not_opened": words.FaultClient,
		"invalid_request": words.FaultRequest, "http_403": words.FaultRequest, "http_500": words.FaultNobody, "timeout": words.FaultNobody,
		"": words.FaultNobody, "a code of tomorrow": words.FaultNobody,
	} {
		assert.Equal(t, want, words.FaultOf(code), code)
		assert.Contains(t, words.Faults, want)
	}
}
