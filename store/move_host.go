package store

import (
	"context"
	"fmt"

	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// MoveHost moves connections of an app to the host that its token endpoint has now, at
// most limit in one call, and returns how many. Call it again until there are none. With
// them goes what is known about the app at the old host: an open circuit stays open, and
// its next probe asks the new endpoint. Without it an app whose endpoint moved has two
// circuits, and two connections that probe the one endpoint.
//
// It is for apps whose accounts all have the same endpoint. Any process may call it, also
// several at once.
func (s *Store) MoveHost(ctx context.Context, app, host string, limit int) (moved int, err error) {
	var others []string
	err = s.db.With(ctx).Raw("SELECT DISTINCT host FROM circuits WHERE app = ? AND host <> ?", app, host).Scan(&others).Error
	if err != nil {
		return 0, fmt.Errorf("find the old hosts of app %s: %w", app, err)
	}
	for _, old := range others {
		err := s.db.Durably(ctx, "move the circuit of app "+app, func(tx *gorm.DB) error { return s.moveCircuit(tx, app, old, host) })
		if err != nil {
			return 0, err
		}
	}
	err = s.db.Durably(ctx, "move the connections of app "+app, func(tx *gorm.DB) error {
		moved, err = s.moveConnections(tx, app, host, limit)
		return err
	})
	return moved, err
}

// moveCircuit moves a circuit, the failures that it weighs, and the connections that wait
// at it. If the app has a circuit at the new host already, that one counts.
func (s *Store) moveCircuit(tx *gorm.DB, app, old, host string) error {
	var rows []circuitRow
	if err := s.locking(tx).Where("app = ? AND host = ?", app, old).Limit(1).Find(&rows).Error; err != nil {
		return fmt.Errorf("lock the circuit of app %s: %w", app, err)
	}
	if len(rows) == 0 {
		return nil // another process was quicker
	}
	var there int64
	if err := tx.Model(&circuitRow{}).Where("app = ? AND host = ?", app, host).Count(&there).Error; err != nil {
		return fmt.Errorf("read the circuit of app %s: %w", app, err)
	}
	move := []string{"UPDATE circuits SET host = ? WHERE app = ? AND host = ?", "UPDATE failures SET host = ? WHERE app = ? AND host = ?"}
	if there > 0 {
		move = []string{"DELETE FROM circuits WHERE ? <> '' AND app = ? AND host = ?", "DELETE FROM failures WHERE ? <> '' AND app = ? AND host = ?"}
	}
	for _, statement := range append(move, "UPDATE waiting SET host = ? WHERE app = ? AND host = ?") {
		if err := tx.Exec(statement, host, app, old).Error; err != nil {
			return fmt.Errorf("move what is known about app %s: %w", app, err)
		}
	}
	return nil
}

// elsewhere matches the connections of an app that are not at a host: as two ranges of the
// index, because each worker asks at its start, and there are nearly never any. With <>
// the database would read the whole table.
const elsewhere = "app = ? AND (host < ? OR host > ?)"

func (s *Store) moveConnections(tx *gorm.DB, app, host string, limit int) (int, error) {
	q := tx.Table("connections").Where(elsewhere, app, host, host).Limit(limit)
	if s.db.Dialect == schema.Postgres {
		q = q.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"})
	}
	var ids []string
	if err := q.Pluck("id", &ids).Error; err != nil {
		return 0, db.Wrap("find connections at another host", err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	return len(ids), db.Wrap("move connections", tx.Table("connections").Where("id IN ?", ids).Updates(map[string]any{"host": host}).Error)
}
