package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// Tombstone is why a connection's row may be gone. Empty: nothing says that it may.
type Tombstone string

// The tombstones.
const (
	TombstoneDisconnected Tombstone = "disconnected" // written with the status
	TombstoneErased       Tombstone = "erased"       // written with the deletion of the row
)

// tombstoneKeep is how long a tombstone stays at least: more than a year, so longer than
// Temporal keeps a closed workflow that somebody might reset, and longer than any
// workflow sleeps.
const tombstoneKeep = 400 * 24 * time.Hour

// Absence describes a missing row, as one statement read it.
type Absence struct {
	Tombstone  Tombstone
	DatabaseID string // see [Installation]
	Number     int64
}

// Absence says, in one statement, whether the connection's row is missing, and in which
// database. If the row is there, missing is false.
func (s *Store) Absence(ctx context.Context, id string) (a Absence, missing bool, err error) {
	var row struct {
		Absence
		Present int64
	}
	err = s.db.With(ctx).Raw(`SELECT (SELECT count(*) FROM connections WHERE id = ?) AS present,
		COALESCE((SELECT cause FROM tombstones WHERE connection_id = ?), '') AS tombstone,
		COALESCE((SELECT database_id FROM installation), '') AS database_id,
		COALESCE((SELECT number FROM installation), 0) AS number`, id, id).Scan(&row).Error
	if err != nil {
		return a, false, fmt.Errorf("look for connection %s: %w", id, err)
	}
	return row.Absence, row.Present == 0, nil
}

// Erase deletes the row of a disconnected connection and leaves a tombstone, so that its
// workflow ends. Any other row is an error of [perennial.CodeConflict]: its grant lives.
func (s *Store) Erase(ctx context.Context, id string) error {
	found, err := s.locked(ctx, perennial.WorkerAccess(), id, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		if c.Status != perennial.StatusDisconnected {
			return perennial.Errorf(perennial.CodeConflict, "connection %s is %s: disconnect it before you erase it", id, c.Status)
		}
		if err := bury(tx, id, TombstoneErased, now); err != nil {
			return err
		}
		return db.Wrap("erase connection "+id, tx.Exec("DELETE FROM connections WHERE id = ?", id).Error)
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return err
}

// EndMissing leaves a tombstone for a connection whose row is gone for good, so that its
// workflow ends. If the row is there, or the database is not the one that the caller
// verified, it is an error of [perennial.CodeConflict].
func (s *Store) EndMissing(ctx context.Context, id, databaseID string, number int64) error {
	return s.db.Durably(ctx, "end the workflow of connection "+id, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		var missing int64
		err = tx.Raw(`SELECT count(*) FROM installation WHERE database_id = ? AND number >= ?
			AND NOT EXISTS (SELECT 1 FROM connections WHERE id = ?)`, databaseID, number, id).Scan(&missing).Error
		switch {
		case err != nil:
			return err
		case missing == 0:
			return perennial.Errorf(perennial.CodeConflict, "connection %s has a row, or the database is another one by now: nothing was changed; to end a connection that has a row, disconnect it", id)
		}
		return bury(tx, id, TombstoneErased, now)
	})
}

// bury writes a connection's tombstone.
func bury(tx *gorm.DB, id string, cause Tombstone, now time.Time) error {
	err := tx.Exec(`INSERT INTO tombstones (connection_id, cause, written_at) VALUES (?, ?, ?)
		ON CONFLICT (connection_id) DO UPDATE SET cause = excluded.cause, written_at = excluded.written_at`, id, string(cause), db.Nullable(now)).Error
	return db.Wrap("write the tombstone of connection "+id, err)
}

// unbury removes the tombstone of a connection that lives again.
func unbury(tx *gorm.DB, id string) error {
	return db.Wrap("remove the tombstone of connection "+id, tx.Exec("DELETE FROM tombstones WHERE connection_id = ?", id).Error)
}

// noteEnd writes or removes the tombstone if the change ended or revived a connection.
func noteEnd(tx *gorm.DB, before, after perennial.Connection, now time.Time) error {
	was, is := before.Status == perennial.StatusDisconnected, after.Status == perennial.StatusDisconnected
	switch {
	case is && !was:
		if err := dropKept(tx, after.ID); err != nil {
			return err
		}
		if err := errorsOf(dropSpare(tx, after.ID), disown(tx, after.ID, "")); err != nil {
			return err
		}
		return bury(tx, after.ID, TombstoneDisconnected, now)
	case was && !is:
		return unbury(tx, after.ID)
	}
	return nil
}
