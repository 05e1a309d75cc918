package notify

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBodyIsWhole: a receiver gets everything that an event says.
func TestBodyIsWhole(t *testing.T) {
	t.Parallel()
	raw, err := body(fill.Of[perennial.Event](), noApps{})
	require.NoError(t, err)
	var b Body
	require.NoError(t, json.Unmarshal(raw, &b))
	assert.Empty(t, fill.Zeros(b))
	assert.Empty(t, fill.Zeros(b.Data))
}

// TestBodyHasItsWords: the words of a message are those of its connection's state.
func TestBodyHasItsWords(t *testing.T) {
	t.Parallel()
	for _, c := range []perennial.Connection{
		{Status: perennial.StatusActive, Health: perennial.HealthHealthy},
		{Status: perennial.StatusActive, Health: perennial.HealthFailing, FailingCode: "http_503"},
		{Status: perennial.StatusActive, Health: perennial.HealthFailing, FailingCode: "invalid_client"},
		{Status: perennial.StatusReconnectRequired, Health: perennial.HealthFailing, Reason: perennial.ReasonInvalidGrant},
		{Status: perennial.StatusReconnectRequired, Health: perennial.HealthFailing, Reason: perennial.ReasonRotationLost},
	} {
		raw, err := body(perennial.Event{Data: perennial.EventData{Provider: "p", Status: c.Status, Health: c.Health, Code: c.FailingCode, Reason: c.Reason}}, noApps{})
		require.NoError(t, err)
		var b Body
		require.NoError(t, json.Unmarshal(raw, &b))
		assert.Equal(t, c.Words("p"), *b.Data.Words, "%+v", c)
	}
}

// TestRowsBecomeTypes: every column of a row arrives in the type that others use.
func TestRowsBecomeTypes(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(fill.Of[endpointRow]().endpoint()))
	assert.Empty(t, fill.Zeros(fill.Of[deliveryRow]().delivery()))
	assert.Empty(t, fill.Zeros(binding(fill.Of[perennial.WebhookEndpoint](), 3)), "a secret is sealed for its endpoint alone")
}

// TestTypesBecomeRows: a caller's values and a try's result arrive in the columns.
// The listed ones belong to later changes of a row.
func TestTypesBecomeRows(t *testing.T) {
	t.Parallel()
	at := time.Now()
	w := fill.Of[perennial.WebhookEndpoint]()
	assert.Equal(t, []string{"OldSecretSealed", "OldSecretUntil", "DisabledAt"}, fill.Zeros(newEndpoint(w, at)))
	assert.Equal(t, []string{"Tries", "LastStatus", "LastError", "NextTryAt", "DeliveredAt"}, fill.Zeros(newDelivery(fill.Of[outbox.Row](), w, at)))
	result := fill.Of[DeliveryResult]()
	result.State, result.NotSent = perennial.DeliveryPending, false
	assert.Equal(t, []string{"DeliveredAt", "CreatedAt"}, fill.Zeros(result.delivery(at)))
	assert.Empty(t, fill.Zeros(tryOf(result, fill.Of[DeliveryPayload]())))
}

// TestMissingScopesAreSaid: the message names the lost permissions, and has words for the
// customer.
func TestMissingScopesAreSaid(t *testing.T) {
	t.Parallel()
	raw, err := body(perennial.Event{Type: perennial.EventScopesMissing, App: "app", Data: perennial.EventData{Provider: "acme", Status: perennial.StatusActive,
		Health: perennial.HealthHealthy, MissingScopes: []string{"write"}}}, noApps{})
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"missing_scopes":["write"]`)
	assert.Contains(t, string(raw), `a permission is missing in acme`)
}
