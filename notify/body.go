package notify

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// Body is a message to a receiver, in the form of Standard Webhooks.
type Body struct {
	Type      perennial.EventType `json:"type"`
	Timestamp time.Time           `json:"timestamp"` // when the change was made
	Data      Data                `json:"data"`
}

// Data says what changed. Fields that do not concern the event are left out. It holds
// no token.
type Data struct {
	ConnectionID string                `json:"connection_id,omitempty"`
	TenantID     string                `json:"tenant_id,omitempty"`
	App          string                `json:"app"`
	Provider     string                `json:"provider,omitempty"`
	AccountID    string                `json:"account_id,omitempty"`
	Status       perennial.Status      `json:"status,omitempty"`
	Health       perennial.Health      `json:"health,omitempty"`
	Reason       perennial.Reason      `json:"reason,omitempty"`
	Code         string                `json:"code,omitempty"`
	Words        *perennial.StatusText `json:"words,omitempty"` // for the customer
	Generation   int64                 `json:"generation,omitempty"`
	Host         string                `json:"host,omitempty"`
	Clock        string                `json:"clock,omitempty"`
	Days         int                   `json:"days,omitempty"`
	EndsAt       time.Time             `json:"ends_at,omitzero"`
	// MissingScopes are permissions that the app requires and the grant has lost.
	MissingScopes []string `json:"missing_scopes,omitempty"`
	Connections   int      `json:"connections,omitempty"`
	Tenants       []string `json:"tenants,omitempty"`
}

// Apps finds an app by name; config.Config in production.
type Apps interface {
	App(name string) (provider.App, error)
}

// body returns the message for e. It has the same bytes each time, as long as the app
// keeps its title.
func body(e perennial.Event, apps Apps) ([]byte, error) {
	d := e.Data
	b := Body{Type: e.Type, Timestamp: e.CreatedAt, Data: Data{
		ConnectionID: e.ConnectionID, TenantID: e.TenantID, App: e.App, Provider: d.Provider, AccountID: d.AccountID,
		Status: d.Status, Health: d.Health, Reason: d.Reason, Code: d.Code, Generation: d.Generation,
		Host: d.Host, Clock: d.Clock, Days: d.Days, EndsAt: d.EndsAt, MissingScopes: d.MissingScopes, Connections: d.Connections, Tenants: d.Tenants,
	}}
	if d.Status != "" {
		title := d.Provider
		if app, err := apps.App(e.App); err == nil { // the app may have left the configuration
			title = app.Provider.Title
		}
		words := perennial.Connection{Status: d.Status, Health: d.Health, Reason: d.Reason, FailingCode: d.Code, MissingScopes: d.MissingScopes}.Words(title)
		b.Data.Words = &words
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write the message of event %s: %w", e.ID, err)
	}
	return raw, nil
}
