package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// A refusal hold that no operator raised ends by itself, once the app has been well for
// an hour. What it kept back is then confirmed once more, a few at a time.
const (
	quietFor = time.Hour // without a first refusal
	// wellPercent is the share of refreshes that must succeed meanwhile.
	wellPercent = 95
	// aQuarter: a hold that keeps back more than one connection in four of its app waits
	// for an operator. So many were not refused by accident.
	aQuarter = 4
	// confirmedAnHour: at most one connection in a hundred of the app is confirmed in an
	// hour.
	confirmedAnHour = 100
)

// EndQuietHolds ends the refusal holds of apps that have been well for an hour, and
// returns their names. Connections that a hold kept back are presented once more, at
// most a hundredth of the app in an hour; a refusal is then terminal.
func (s *Store) EndQuietHolds(ctx context.Context) (ended []string, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var apps []string
	err = s.db.With(ctx).Model(&appRow{}).Where("hold_terminal AND hold_since IS NOT NULL AND held_at <= ?", db.Nullable(now.Add(-quietFor))).Order("app").Pluck("app", &apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps on hold: %w", err)
	}
	for _, app := range apps {
		size, quiet, err := s.quiet(ctx, app, now)
		if err != nil {
			return ended, err
		}
		if !quiet {
			continue
		}
		if err := s.endRefusalHold(ctx, app, endHold{rate: float64(max(size/confirmedAnHour, 1)) / time.Hour.Seconds()}); err != nil {
			return ended, err
		}
		ended = append(ended, app)
	}
	return ended, nil
}

// quiet reports whether an app on hold has been well for long enough, and how many
// active connections it has.
func (s *Store) quiet(ctx context.Context, app string, now time.Time) (size int64, quiet bool, err error) {
	q := s.db.With(ctx)
	count := func(into *int64, tx *gorm.DB) error { return tx.Count(into).Error }
	var refused, held, tried, refreshed int64
	active := func() *gorm.DB { return q.Table("connections").Where("app = ? AND status = 'active'", app) }
	attempts := func() *gorm.DB {
		return q.Table("attempts AS a").Joins("JOIN connections AS c ON c.id = a.connection_id").
			Where("a.started_at > ? AND c.app = ? AND c.suspect_since IS NULL AND a.outcome <> ?", db.Nullable(now.Add(-refusalWindow)), app, string(perennial.OutcomeThrottled))
	}
	err = errorsOf(
		count(&refused, q.Model(&firstRefusal{}).Where("app = ? AND refused_at > ?", app, db.Nullable(now.Add(-quietFor)))),
		count(&held, active().Where("suspect_since IS NOT NULL")),
		count(&size, active()),
		count(&tried, attempts()),
		count(&refreshed, attempts().Where("a.outcome = ?", string(perennial.OutcomeRefreshed))))
	if err != nil {
		return 0, false, fmt.Errorf("see whether app %s is well: %w", app, err)
	}
	return size, refused == 0 && aQuarter*held <= size && tried > 0 && 100*refreshed >= wellPercent*tried, nil
}
