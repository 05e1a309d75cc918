package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"gorm.io/gorm"
)

// outboxRow is an event, delivered or not.
type outboxRow struct {
	ID           string     `gorm:"column:id;primaryKey"`
	Type         string     `gorm:"column:type"`
	App          string     `gorm:"column:app"`
	TenantID     string     `gorm:"column:tenant_id"`
	ConnectionID string     `gorm:"column:connection_id"`
	Body         string     `gorm:"column:body"`
	CreatedAt    *time.Time `gorm:"column:created_at;autoCreateTime:false"`
}

// TableName implements gorm's Tabler.
func (outboxRow) TableName() string { return "outbox" }

// emit writes an event in the same transaction as its change.
func emit(tx *gorm.DB, e perennial.Event, now time.Time) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an event id: %w", err)
	}
	body, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("write event %s: %w", e.Type, err)
	}
	now = now.UTC().Truncate(time.Microsecond)
	r := outboxRow{ID: "evt_" + id.String(), Type: string(e.Type), App: e.App, TenantID: e.TenantID, ConnectionID: e.ConnectionID, Body: string(body), CreatedAt: &now}
	if err := tx.Create(&r).Error; err != nil {
		return fmt.Errorf("write event %s: %w", e.Type, err)
	}
	return nil
}

// emitChange writes the event, if any, of a connection's change from before to after. A
// zero before means a new connection.
func emitChange(tx *gorm.DB, before, after perennial.Connection, now time.Time) error {
	t := changeOf(before, after)
	if t == "" {
		return nil
	}
	return emit(tx, connectionEvent(t, after), now)
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
	if after.Status != perennial.StatusActive || before.Health == after.Health {
		return ""
	}
	if after.Health == perennial.HealthFailing {
		return perennial.EventFailing
	}
	return perennial.EventRecovered
}

func connectionEvent(t perennial.EventType, c perennial.Connection) perennial.Event {
	return perennial.Event{Type: t, App: c.App, TenantID: c.TenantID, ConnectionID: c.ID, Data: perennial.EventData{
		Provider: c.Provider, AccountID: c.AccountID, Status: c.Status, Reason: c.Reason, Health: c.Health, Code: c.FailingCode, Generation: c.Generation,
	}}
}

// Events returns the last events, newest first, at most limit: of one connection, or of
// all for an empty id.
func (s *Store) Events(ctx context.Context, connectionID string, limit int) ([]perennial.Event, error) {
	q := s.db.WithContext(ctx).Order("created_at DESC, id DESC").Limit(limit)
	if connectionID != "" {
		q = q.Where("connection_id = ?", connectionID)
	}
	var rows []outboxRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the events: %w", err)
	}
	out := make([]perennial.Event, 0, len(rows))
	for _, r := range rows {
		e, err := r.event()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// head returns the event without its data.
func (r outboxRow) head() perennial.Event {
	return perennial.Event{ID: r.ID, Type: perennial.EventType(r.Type), App: r.App, TenantID: r.TenantID, ConnectionID: r.ConnectionID, CreatedAt: stamp(r.CreatedAt)}
}

func (r outboxRow) event() (perennial.Event, error) {
	e := r.head()
	if err := json.Unmarshal([]byte(r.Body), &e.Data); err != nil {
		return e, fmt.Errorf("read event %s: %w", r.ID, err)
	}
	return e, nil
}
