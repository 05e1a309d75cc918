package golden_test

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
)

// TestGoldenJSON: the JSON of every type of the root package that is stored or sent.
func TestGoldenJSON(t *testing.T) {
	t.Parallel()
	golden.JSON(t, "types", map[string]any{
		"api_key":          fill.Of[perennial.APIKey](),
		"attempt":          fill.Of[perennial.Attempt](),
		"connect_session":  fill.Of[perennial.ConnectSession](),
		"connection":       fill.Of[perennial.Connection](),
		"delivery":         fill.Of[perennial.Delivery](),
		"event":            fill.Of[perennial.Event](),
		"text":             perennial.Describe(perennial.StatusReconnectRequired, "", perennial.ReasonInvalidGrant, "HubSpot"),
		"webhook_endpoint": fill.Of[perennial.WebhookEndpoint](),
	})
}

// TestGoldenWords: the words that are stored and sent.
func TestGoldenWords(t *testing.T) {
	t.Parallel()
	golden.JSON(t, "words", map[string]any{
		"cadences":         []perennial.Cadence{perennial.CadenceAlways, perennial.CadenceOnUse},
		"connect_outcomes": perennial.ConnectOutcomes,
		"connect_modes":    []perennial.ConnectMode{perennial.ConnectPage, perennial.ConnectPopup},
		"codes": []perennial.Code{perennial.CodeInvalid, perennial.CodeNotFound, perennial.CodeConflict, perennial.CodeAccountMismatch, perennial.CodeReconnectRequired,
			perennial.CodePaused, perennial.CodeDisconnected, perennial.CodeGenerationAhead, perennial.CodeUnavailable, perennial.CodeSealed, perennial.CodeSchema, perennial.CodeInternal},
		"delivery_states": []perennial.DeliveryState{perennial.DeliveryPending, perennial.DeliveryDelivered, perennial.DeliveryDead},
		"event_types":     perennial.EventTypes,
		"healths":         perennial.Healths,
		"outcomes":        perennial.Outcomes,
		"reasons":         perennial.Reasons,
		"replay_classes":  perennial.ReplayClasses,
		"revocations":     []perennial.Revocation{perennial.RevocationNone, perennial.RevocationDone, perennial.RevocationFailed, perennial.RevocationUnsupported},
		"scopes":          perennial.Scopes,
		"statuses":        perennial.Statuses,
		"triggers": []perennial.Trigger{perennial.TriggerTimer, perennial.TriggerRetry, perennial.TriggerRequest, perennial.TriggerConfirm, perennial.TriggerKeepAlive,
			perennial.TriggerFallback, perennial.TriggerTokenRefused, perennial.TriggerRevoked},
		"refusal_causes": perennial.RefusalCauses,
	})
}
