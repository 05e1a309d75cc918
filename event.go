package perennial

import "time"

// EventType names a change that webhooks report.
type EventType string

// The event types.
const (
	EventConnected         EventType = "connection.connected"
	EventReconnectRequired EventType = "connection.reconnect_required"
	EventRecovered         EventType = "connection.recovered"
	EventFailing           EventType = "connection.failing"
	EventExpiringSoon      EventType = "connection.expiring_soon"
	EventScopesMissing     EventType = "connection.scopes_missing"  // the grant lost a permission that the app requires; it is refreshed all the same
	EventScopesRestored    EventType = "connection.scopes_restored" // it has all of them again
	EventDisconnected      EventType = "connection.disconnected"
	EventCircuitOpened     EventType = "app.circuit_opened"
	EventCircuitReleasing  EventType = "app.circuit_releasing" // a probe succeeded: the waiting connections go one after another
	EventCircuitClosed     EventType = "app.circuit_closed"
	EventAppStopped        EventType = "app.stopped" // by an operator: nothing of the app is presented
	EventAppStarted        EventType = "app.started" // again: the waiting connections go one after another
	EventHoldRaised        EventType = "app.hold_raised"
	EventHoldEnded         EventType = "app.hold_ended"
)

// Event is one change, written in the same transaction. It holds no token.
type Event struct {
	ID           string    `json:"id"`
	Type         EventType `json:"type"`
	App          string    `json:"app"`
	TenantID     string    `json:"tenant_id,omitempty"`
	ConnectionID string    `json:"connection_id,omitempty"`
	Data         EventData `json:"data"`
	CreatedAt    time.Time `json:"created_at"`
}

// EventData says what changed. Fields that do not concern the event are empty.
type EventData struct {
	Provider   string    `json:"provider,omitempty"`
	AccountID  string    `json:"account_id,omitempty"`
	Status     Status    `json:"status,omitempty"`
	Reason     Reason    `json:"reason,omitempty"`
	Health     Health    `json:"health,omitempty"`
	Code       string    `json:"code,omitempty"` // why the connection is failing, why a circuit opened
	Generation int64     `json:"generation,omitempty"`
	Host       string    `json:"host,omitempty"`
	Clock      string    `json:"clock,omitempty"` // expiring_soon: refresh_token or grant
	Days       int       `json:"days,omitempty"`  // expiring_soon: days left, rounded up
	EndsAt     time.Time `json:"ends_at,omitzero"`

	// MissingScopes are the permissions that the connection's grant has lost.
	MissingScopes []string `json:"missing_scopes,omitempty"`

	// Connections and Tenants say on whose evidence an app is in trouble: how many
	// connections failed, and whose they are, at most 20. Only operators see them.
	Connections int      `json:"connections,omitempty"`
	Tenants     []string `json:"tenants,omitempty"`
}
