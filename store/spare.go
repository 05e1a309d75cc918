package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Two attempts can both get a token set for one refresh token: the second one presents it
// while the first one counts as lost. The row takes the set that comes first. If the
// provider has ended that one for the other's sake, only the other works. So the other is
// kept as a spare until the row's refresh token has worked, which raises the generation.

// Spare is such a token set.
type Spare struct {
	ConnectionID       string
	Generation         int64 // of the row and of this set
	RowDigest          string
	AttemptID          string
	AccessTokenSealed  []byte // as the connection's, at Generation
	RefreshTokenSealed []byte
	RefreshTokenDigest string
	ExpiresAt          time.Time // of the access token; zero: unknown
	ReceivedAt         time.Time
}

// spareRow is a row of spare_sets.
type spareRow struct {
	ConnectionID       string     `gorm:"column:connection_id;primaryKey"`
	Generation         int64      `gorm:"column:generation"`
	RowDigest          string     `gorm:"column:row_digest"`
	AttemptID          string     `gorm:"column:attempt_id"`
	AccessTokenSealed  []byte     `gorm:"column:access_token_sealed"`
	RefreshTokenSealed []byte     `gorm:"column:refresh_token_sealed"`
	RefreshTokenDigest string     `gorm:"column:refresh_token_digest"`
	ExpiresAt          *time.Time `gorm:"column:expires_at"`
	ReceivedAt         *time.Time `gorm:"column:received_at"`
}

// TableName implements gorm's Tabler.
func (spareRow) TableName() string { return "spare_sets" }

func (r spareRow) spare() Spare {
	return Spare{ConnectionID: r.ConnectionID, Generation: r.Generation, RowDigest: r.RowDigest, AttemptID: r.AttemptID, AccessTokenSealed: r.AccessTokenSealed,
		RefreshTokenSealed: r.RefreshTokenSealed, RefreshTokenDigest: r.RefreshTokenDigest, ExpiresAt: db.Time(r.ExpiresAt), ReceivedAt: db.Time(r.ReceivedAt)}
}

// besideRow matches the spares that may still be needed.
const besideRow = `EXISTS (SELECT 1 FROM connections c WHERE c.id = spare_sets.connection_id AND c.generation = spare_sets.generation
	AND c.refresh_token_digest = spare_sets.row_digest AND c.status <> 'disconnected')`

// KeepSpare keeps a token set that [Store.Save] did not store, if another attempt with the
// same refresh token stored the row's. It reports whether it did. A newer spare replaces
// an older one, because a provider that ends a set ends the older.
func (s *Store) KeepSpare(ctx context.Context, req SaveRequest) (kept bool, err error) {
	found, err := s.locked(ctx, perennial.WorkerAccess(), req.ID, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		if !rivals(c, req) {
			return nil
		}
		var others []perennial.Outcome
		err := tx.Table("attempts").Where("connection_id = ? AND generation = ? AND id <> ?", c.ID, req.Generation, req.AttemptID).Pluck("outcome", &others).Error
		if err != nil || !slices.Contains(others, perennial.OutcomeRefreshed) && !slices.Contains(others, perennial.OutcomeUnknown) {
			return db.Wrap("look for the attempt whose tokens connection "+c.ID+" has", err)
		}
		at := now.UTC().Truncate(time.Microsecond)
		row := spareRow{ConnectionID: c.ID, Generation: c.Generation, RowDigest: c.RefreshTokenDigest, AttemptID: req.AttemptID, AccessTokenSealed: req.AccessTokenSealed,
			RefreshTokenSealed: req.RefreshTokenSealed, RefreshTokenDigest: req.RefreshTokenDigest, ReceivedAt: &at}
		if !req.ExpiresAt.IsZero() {
			expires := req.ExpiresAt.UTC().Truncate(time.Microsecond)
			row.ExpiresAt = &expires
		}
		kept = true
		return db.Wrap("keep the spare token set of connection "+c.ID,
			tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "connection_id"}}, UpdateAll: true}).Create(&row).Error)
	})
	if err == nil && !found {
		err = notFound(req.ID)
	}
	return kept && err == nil, err
}

// rivals reports whether the row may have another attempt's tokens for the refresh token
// that the request presented. A reconnect's are none: as far as the caller knows the row
// that it claimed, that shows.
func rivals(c perennial.Connection, req SaveRequest) bool {
	if req.Claimed.ID == c.ID && c.RefreshCount != req.Claimed.RefreshCount+1 {
		return false
	}
	return c.Status != perennial.StatusDisconnected && c.Generation == req.NewGeneration && c.RefreshTokenDigest != req.RefreshTokenDigest && req.RefreshTokenDigest != req.Digest
}

// Spare returns the spare token set of a connection, if it has one that is still needed.
func (s *Store) Spare(ctx context.Context, id string) (Spare, bool, error) {
	var rows []spareRow
	if err := s.db.With(ctx).Where("connection_id = ? AND "+besideRow, id).Limit(1).Find(&rows).Error; err != nil {
		return Spare{}, false, fmt.Errorf("look for the spare token set of connection %s: %w", id, err)
	}
	if len(rows) == 0 {
		return Spare{}, false, nil
	}
	return rows[0].spare(), true, nil
}

// dropSpare deletes the spare token set of a connection.
func dropSpare(tx *gorm.DB, id string) error {
	return db.Wrap("delete the spare token set of connection "+id, tx.Exec("DELETE FROM spare_sets WHERE connection_id = ?", id).Error)
}
