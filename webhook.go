package perennial

import (
	"slices"
	"time"
)

// EventTypes lists every event type.
var EventTypes = []EventType{EventConnected, EventReconnectRequired, EventRecovered, EventFailing, EventExpiringSoon, EventDisconnected,
	EventCircuitOpened, EventCircuitClosed, EventHoldRaised, EventHoldEnded}

// WebhookEndpoint is where events are sent. Its secrets are sealed.
type WebhookEndpoint struct {
	ID       string      `json:"id"`
	TenantID string      `json:"tenant_id,omitempty"` // empty: every tenant's events, and those of apps
	URL      string      `json:"url"`
	Types    []EventType `json:"types,omitempty"` // empty: all

	SecretSealed    []byte    `json:"-"`
	SecretVersion   int64     `json:"secret_version"` // of SecretSealed; the old one's is one less
	OldSecretSealed []byte    `json:"-"`
	OldSecretUntil  time.Time `json:"old_secret_until,omitzero"` // until then messages carry the old secret's signature too

	DisabledAt time.Time `json:"disabled_at,omitzero"` // zero: in use
	CreatedAt  time.Time `json:"created_at"`
}

// Wants reports whether the endpoint is to hear of e: one of its tenant and of
// its types, that happened after the endpoint was made. An endpoint without a
// tenant hears of all tenants and of apps.
func (w WebhookEndpoint) Wants(e Event) bool {
	return w.DisabledAt.IsZero() &&
		(w.TenantID == "" || w.TenantID == e.TenantID) &&
		(len(w.Types) == 0 || slices.Contains(w.Types, e.Type)) &&
		!e.CreatedAt.Before(w.CreatedAt)
}

// DeliveryState says how far a delivery is.
type DeliveryState string

// The states.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered" // the receiver said so
	DeliveryDead      DeliveryState = "dead"      // given up; it can be redelivered by hand
)

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	EventID     string        `json:"event_id"`
	EndpointID  string        `json:"endpoint_id"`
	State       DeliveryState `json:"state"`
	Tries       int           `json:"tries"`
	LastStatus  int           `json:"last_status,omitempty"` // of HTTP; 0: no reply
	LastError   string        `json:"last_error,omitempty"`  // in our words, never the receiver's
	NextTryAt   time.Time     `json:"next_try_at,omitzero"`
	DeliveredAt time.Time     `json:"delivered_at,omitzero"`
	CreatedAt   time.Time     `json:"created_at"`
}
