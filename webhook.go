package perennial

import (
	"slices"
	"time"
)

// EventTypes lists every event type.
var EventTypes = []EventType{EventConnected, EventReconnectRequired, EventRecovered, EventFailing, EventExpiringSoon, EventScopesMissing, EventScopesRestored, EventDisconnected,
	EventCircuitOpened, EventCircuitReleasing, EventCircuitClosed, EventAppStopped, EventAppStarted, EventHoldRaised, EventHoldEnded}

// WebhookEndpoint is a URL that receives events. Its secrets are sealed.
type WebhookEndpoint struct {
	ID       string      `json:"id"`
	TenantID string      `json:"tenant_id,omitempty"` // empty: the events of every tenant and of apps
	URL      string      `json:"url"`
	Types    []EventType `json:"types,omitempty"` // empty: all types

	SecretSealed    []byte    `json:"-"`
	SecretVersion   int64     `json:"secret_version"` // the version of SecretSealed; the old secret's is one less
	OldSecretSealed []byte    `json:"-"`
	OldSecretUntil  time.Time `json:"old_secret_until,omitzero"` // until then messages also carry the old secret's signature

	DisabledAt time.Time `json:"disabled_at,omitzero"` // zero: in use
	CreatedAt  time.Time `json:"created_at"`
}

// EveryTenant reports whether the endpoint receives the events of all tenants and of apps:
// only an operator makes such a one, and it has no tenant.
func (w WebhookEndpoint) EveryTenant() bool { return CheckTenant(w.TenantID) != nil }

// Wants reports whether the endpoint receives e: an event of its tenant and its types,
// after the endpoint was created. An endpoint without a tenant receives the events of
// all tenants and of apps.
func (w WebhookEndpoint) Wants(e Event) bool {
	return w.DisabledAt.IsZero() &&
		(w.EveryTenant() || w.TenantID == e.TenantID) &&
		(len(w.Types) == 0 || slices.Contains(w.Types, e.Type)) &&
		!e.CreatedAt.Before(w.CreatedAt)
}

// DeliveryState is the state of a delivery.
type DeliveryState string

// The states.
const (
	DeliveryPending   DeliveryState = "pending"
	DeliveryDelivered DeliveryState = "delivered" // the receiver confirmed it
	DeliveryDead      DeliveryState = "dead"      // given up; an operator can redeliver it
)

// Delivery is the delivery of one event to one endpoint.
type Delivery struct {
	EventID     string        `json:"event_id"`
	EndpointID  string        `json:"endpoint_id"`
	State       DeliveryState `json:"state"`
	Tries       int           `json:"tries"`
	LastStatus  int           `json:"last_status,omitempty"` // the HTTP status; 0: no reply
	LastError   string        `json:"last_error,omitempty"`  // in our words, never the receiver's
	NextTryAt   time.Time     `json:"next_try_at,omitzero"`
	DeliveredAt time.Time     `json:"delivered_at,omitzero"`
	CreatedAt   time.Time     `json:"created_at"`
}
