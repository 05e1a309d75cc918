// Package outbox keeps the events of changes until they are delivered. Whoever changes
// something appends the event in the same transaction, so that neither is ever
// committed without the other; package notify delivers it.
package outbox

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// Row is a row of the table outbox: an event, delivered or not.
type Row struct {
	ID           string     `gorm:"column:id;primaryKey"`
	Type         string     `gorm:"column:type"`
	App          string     `gorm:"column:app"`
	TenantID     string     `gorm:"column:tenant_id"`
	ConnectionID string     `gorm:"column:connection_id"`
	Body         string     `gorm:"column:body"`
	CreatedAt    *time.Time `gorm:"column:created_at;autoCreateTime:false"`
}

// TableName implements gorm's Tabler.
func (Row) TableName() string { return "outbox" }

// Append writes an event in the transaction of its change. now is the database's clock.
func Append(tx *gorm.DB, e perennial.Event, now time.Time) error {
	r, err := rowOf(e, now)
	if err != nil {
		return err
	}
	if err := tx.Create(&r).Error; err != nil {
		return fmt.Errorf("write event %s: %w", e.Type, err)
	}
	return nil
}

// rowOf returns the row of an event, with a new id.
func rowOf(e perennial.Event, now time.Time) (Row, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Row{}, fmt.Errorf("make an event id: %w", err)
	}
	body, err := json.Marshal(e.Data)
	if err != nil {
		return Row{}, fmt.Errorf("write event %s: %w", e.Type, err)
	}
	at := now.UTC().Truncate(time.Microsecond)
	return Row{ID: "evt_" + id.String(), Type: string(e.Type), App: e.App, TenantID: e.TenantID, ConnectionID: e.ConnectionID, Body: string(body), CreatedAt: &at}, nil
}

// Last returns the last events, newest first, at most limit: of one connection, or of
// all for an empty id.
func Last(q *gorm.DB, connectionID string, limit int) ([]perennial.Event, error) {
	q = q.Order("created_at DESC, id DESC").Limit(limit)
	if connectionID != "" {
		q = q.Where("connection_id = ?", connectionID)
	}
	var rows []Row
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the events: %w", err)
	}
	out := make([]perennial.Event, 0, len(rows))
	for _, r := range rows {
		e, err := r.Event()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// Prune deletes at most limit settled events from before a time. It returns how many.
func Prune(tx *gorm.DB, before time.Time, limit int) (int64, error) {
	result := tx.Exec("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < ? AND delivered_at IS NOT NULL LIMIT ?)", db.Nullable(before), limit)
	return result.RowsAffected, db.Wrap("delete old events", result.Error)
}

// Head returns the event without its data.
func (r Row) Head() perennial.Event {
	return perennial.Event{ID: r.ID, Type: perennial.EventType(r.Type), App: r.App, TenantID: r.TenantID, ConnectionID: r.ConnectionID, CreatedAt: db.Time(r.CreatedAt)}
}

// Event returns the event with its data.
func (r Row) Event() (perennial.Event, error) {
	e := r.Head()
	if err := json.Unmarshal([]byte(r.Body), &e.Data); err != nil {
		return e, fmt.Errorf("read event %s: %w", r.ID, err)
	}
	return e, nil
}
