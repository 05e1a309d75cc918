package store

import (
	"context"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"gorm.io/gorm"
)

// emitChange writes the events, if any, of a connection's change from before to after. A
// zero before means a new connection.
func emitChange(tx *gorm.DB, before, after perennial.Connection, now time.Time) error {
	for _, t := range []perennial.EventType{changeOf(before, after), scopesChangeOf(before, after)} {
		if t == "" {
			continue
		}
		if err := outbox.Append(tx, connectionEvent(t, after), now); err != nil {
			return err
		}
	}
	return nil
}

// scopesChangeOf returns the type of the event about the permissions that the grant has
// lost or has again, or "" if they stay.
func scopesChangeOf(before, after perennial.Connection) perennial.EventType {
	switch {
	case slices.Equal(before.MissingScopes, after.MissingScopes), before.Status == perennial.StatusDisconnected:
		return ""
	case len(after.MissingScopes) > 0:
		return perennial.EventScopesMissing
	}
	return perennial.EventScopesRestored
}

// changeOf returns the type of the change's event, or "" if it has none.
func changeOf(before, after perennial.Connection) perennial.EventType {
	if before.Status != after.Status {
		switch {
		case after.Status == perennial.StatusReconnectRequired:
			return perennial.EventReconnectRequired
		case after.Status == perennial.StatusDisconnected:
			return perennial.EventDisconnected
		case after.Status == perennial.StatusActive && before.Status == perennial.StatusReconnectRequired:
			return perennial.EventRecovered
		case after.Status == perennial.StatusActive && before.Status != perennial.StatusPaused:
			return perennial.EventConnected
		}
		return ""
	}
	if after.Status != perennial.StatusActive {
		return ""
	}
	if before.Health == after.Health {
		if after.Health == perennial.HealthFailing && after.FailingCode == CodeRefusedUnclear && before.FailingCode != CodeRefusedUnclear {
			return perennial.EventFailing // once more, by its name
		}
		return ""
	}
	if after.Health == perennial.HealthFailing {
		return perennial.EventFailing
	}
	return perennial.EventRecovered
}

func connectionEvent(t perennial.EventType, c perennial.Connection) perennial.Event {
	return perennial.Event{Type: t, App: c.App, TenantID: c.TenantID, ConnectionID: c.ID, Data: perennial.EventData{
		Provider: c.Provider, AccountID: c.AccountID, Status: c.Status, Reason: c.Reason, Health: c.Health, Code: c.FailingCode, Generation: c.Generation, MissingScopes: c.MissingScopes,
	}}
}

// Events returns the last events, newest first, at most limit: of one connection, or of
// all for an empty id.
func (s *Store) Events(ctx context.Context, connectionID string, limit int) ([]perennial.Event, error) {
	return outbox.Last(s.db.With(ctx), connectionID, limit)
}
