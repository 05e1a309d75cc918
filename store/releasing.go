package store

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// This file has the states of a circuit around its release, and who waits meanwhile.
// [Store.Release], in release.go, does the steps.

// waitingRow is a connection that waits for its turn, or has it.
type waitingRow struct {
	ConnectionID string     `gorm:"column:connection_id;primaryKey"`
	App          string     `gorm:"column:app"`
	Host         string     `gorm:"column:host"`
	ExpiresAt    *time.Time `gorm:"column:expires_at"`
	TurnAt       *time.Time `gorm:"column:turn_at"`
}

// TableName implements gorm's Tabler.
func (waitingRow) TableName() string { return "waiting" }

func waitingOf(c perennial.Connection, now time.Time) waitingRow {
	at := now
	for _, t := range []time.Time{c.NextRefreshAt, c.ExpiresAt} {
		if !t.IsZero() {
			at = t
		}
	}
	at = at.UTC().Truncate(time.Microsecond)
	return waitingRow{ConnectionID: c.ID, App: c.App, Host: c.Host, ExpiresAt: &at}
}

// beginRelease moves a circuit from open to releasing.
func (s *Store) beginRelease(tx *gorm.DB, circuit circuitRow, now time.Time) error {
	err := updateCircuit(tx, circuit, now, columns{"releasing_at": db.Nullable(now), "progress": ""})
	if err != nil {
		return err
	}
	return outbox.Append(tx, circuit.event(perennial.EventCircuitReleasing, circuit.Code), now)
}

// reopenCircuit ends a release that came too early. The next probe is as far away as
// the last one was; those that wait keep their place.
func (s *Store) reopenCircuit(tx *gorm.DB, circuit circuitRow, req NoteRequest, reason string, now time.Time) error {
	if err := takeTurnsBack(tx, circuit); err != nil {
		return err
	}
	err := updateCircuit(tx, circuit, now, columns{"releasing_at": nil, "progress": "", "reason": reason, "code": req.Code, "last_canary": req.Connection.ID, "called_canary": "", "called_at": nil,
		"next_probe_at": db.Nullable(now.Add(ProbeWait(req.Interval, circuit.Probes)))})
	if err != nil {
		return err
	}
	return outbox.Append(tx, circuit.event(perennial.EventCircuitOpened, req.Code), now)
}

// takeTurnsBack lets the connections that have their turn wait for another one.
func takeTurnsBack(tx *gorm.DB, circuit circuitRow) error {
	err := tx.Table("waiting").Where("app = ? AND host = ? AND turn_at IS NOT NULL", circuit.App, circuit.Host).Updates(map[string]any{"turn_at": nil}).Error
	return db.Wrap("take the turns of app "+circuit.App+" back", err)
}

// closeCircuit ends a release: nobody waits any more.
func closeCircuit(tx *gorm.DB, circuit circuitRow, now time.Time) error {
	err := errorsOf(
		tx.Where("app = ? AND host = ?", circuit.App, circuit.Host).Delete(&waitingRow{}).Error,
		updateCircuit(tx, circuit, now, columns{"reason": "", "code": "", "opened_at": nil, "next_probe_at": nil, "probes": 0, "last_canary": "",
			"called_canary": "", "called_at": nil, "unproven_only": false, "progress": ""}))
	if err != nil {
		return err
	}
	return outbox.Append(tx, circuit.event(perennial.EventCircuitClosed, circuit.Code), now)
}

// hasTurn reports whether a circuit that is releasing has given the connection its
// turn.
func hasTurn(tx *gorm.DB, circuit circuitRow, id string) (bool, error) {
	if !circuit.releasing() {
		return false, nil
	}
	var rows []waitingRow
	err := tx.Where("connection_id = ? AND app = ? AND host = ? AND turn_at IS NOT NULL", id, circuit.App, circuit.Host).Limit(1).Find(&rows).Error
	if err != nil {
		return false, fmt.Errorf("find the turn of connection %s: %w", id, err)
	}
	return len(rows) > 0, nil
}

// joinRelease adds a connection that its transaction has locked and will park to those
// that wait for their turn, if its circuit is releasing. It reports
// whether the connection has its turn by now.
func (s *Store) joinRelease(tx *gorm.DB, c perennial.Connection, now time.Time) (released bool, err error) {
	circuit, err := readCircuit(tx, c)
	if err != nil || !circuit.releasing() {
		return false, err
	}
	if released, err = hasTurn(tx, circuit, c.ID); err != nil || released {
		return released, err
	}
	row := waitingOf(c, now)
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
		return false, fmt.Errorf("note that connection %s waits: %w", c.ID, err)
	}
	return false, nil
}

// readCircuit reads the circuit of a connection without a lock; none is a closed one.
func readCircuit(tx *gorm.DB, c perennial.Connection) (circuitRow, error) {
	var rows []circuitRow
	if err := tx.Where("app = ? AND host = ?", c.App, c.Host).Limit(1).Find(&rows).Error; err != nil {
		return circuitRow{}, fmt.Errorf("read the circuit of app %s: %w", c.App, err)
	}
	if len(rows) == 0 {
		return circuitAt(c.App, c.Host), nil
	}
	return rows[0], nil
}

// releasedSince reports whether the release of the connection's circuit began after its
// open attempt did, and the circuit has not opened again.
func releasedSince(tx *gorm.DB, c perennial.Connection) (bool, error) {
	circuit, err := readCircuit(tx, c)
	if err != nil {
		return false, err
	}
	began := db.Time(circuit.ReleasingAt)
	return (circuit.Reason == "" || circuit.releasing()) && began.After(c.Open.StartedAt), nil
}
