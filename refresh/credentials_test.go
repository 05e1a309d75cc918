package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
)

// TestCredentialsRefused: what a provider says about a customer's own client counts
// toward no circuit of the app, and ends the connection in words about credentials.
func TestCredentialsRefused(t *testing.T) {
	t.Parallel()
	refused := provider.Reply{Outcome: perennial.OutcomeRevoked, Code: "unauthorized_client", HTTPStatus: 400, Fault: perennial.FaultGrant}
	assert.Equal(t, perennial.OutcomeMisconfigured, gateOutcome(refused), "several directories that refuse the app's client")
	refused.CustomersClient = true
	assert.Equal(t, perennial.OutcomeRevoked, gateOutcome(refused))
	assert.False(t, countable(refused))

	now := time.Now()
	entry := provider.Entry{Grant: provider.GrantClientCredentials, ReplayClass: perennial.ReplayReusable, ChecksClientFirst: true}
	row := perennial.Connection{Status: perennial.StatusActive, RefreshTokenDigest: "d", SuspectSince: now, SuspectDigest: "d", ExpiresAt: now.Add(time.Hour)}
	assert.Equal(t, perennial.ReasonCredentials, decide(row, entry, refused, now, time.Minute).Terminal)
	row.SuspectSince = time.Time{}
	first := decide(row, entry, refused, now, time.Minute)
	assert.Empty(t, first.Terminal, "one refusal is confirmed first")
	assert.True(t, first.Suspect)

	a := &attempt{app: provider.App{Provider: entry}}
	assert.False(t, a.asksWithMadeUp(), "made-up credentials would be no credentials at all")
	a.app.Provider.Grant = provider.GrantAuthorizationCode
	assert.True(t, a.asksWithMadeUp())
}
