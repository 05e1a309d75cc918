package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// CodeRefusalHold is the failing code of a connection whose refusal was confirmed while
// its app's refusal hold was raised.
const CodeRefusalHold = "held_terminal"

// CodeRefusedUnclear is the failing code of a connection that its provider has refused
// for long, without saying in words that we know whose fault that is. Its access token
// has ended.
const CodeRefusedUnclear = "refused_unclear"

const (
	// holdWait is how long a refused connection on hold waits before it is tried again:
	// at least this, at most twice as long.
	holdWait = 5 * time.Minute
	// refusalWindow is the period in which first refusals are counted, and baseline the
	// period that shows how many are usual.
	refusalWindow = 10 * time.Minute
	baseline      = 7 * 24 * time.Hour
	// muteAfterConfirm is how long refusals raise no hold after an operator has
	// confirmed that they are real.
	muteAfterConfirm = time.Hour
)

// firstRefusal is the last time that a connection's token was refused for the first
// time.
type firstRefusal struct {
	App          string     `gorm:"column:app;primaryKey"`
	ConnectionID string     `gorm:"column:connection_id;primaryKey"`
	RefusedAt    *time.Time `gorm:"column:refused_at"`
}

// TableName implements gorm's Tabler.
func (firstRefusal) TableName() string { return "first_refusals" }

func refusalOf(c perennial.Connection, now time.Time) firstRefusal {
	at := now.UTC().Truncate(time.Microsecond)
	return firstRefusal{App: c.App, ConnectionID: c.ID, RefusedAt: &at}
}

// wellLately reports whether a first refusal of the connection may be a sign that the
// provider refuses good tokens: its own are proven, and it did not fail long
// before.
func wellLately(c perennial.Connection, now time.Time) bool {
	return (c.Proven() || seam.Off(seam.Cohorts)) && !c.Suspect() && (c.FailureCount == 0 || c.LastRefreshedAt.After(now.Add(-lately)))
}

// lately is how long a connection that fails still counts as one that has worked.
const lately = 24 * time.Hour

// withheld records a first refusal. If a hold prevents a terminal step, it returns the
// failing code that the connection gets instead, else "".
//
// The app's refusal hold keeps back refusals since its first evidence; an older
// refusal that is confirmed now is real. A hold that an operator raised keeps back
// everything.
func (s *Store) withheld(tx *gorm.DB, c perennial.Connection, req CloseRequest, now time.Time) (code string, err error) {
	if req.Suspect && wellLately(c, now) {
		refusal := refusalOf(c, now)
		err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "app"}, {Name: "connection_id"}}, DoUpdates: clause.AssignmentColumns([]string{"refused_at"})}).
			Create(&refusal).Error
		if err != nil {
			return "", fmt.Errorf("note the refusal of connection %s: %w", c.ID, err)
		}
	}
	if req.Terminal == "" || req.Terminal == perennial.ReasonNoRefreshToken {
		return "", nil
	}
	if kept, ok, err := readKept(tx, c.ID); err != nil || ok && kept.bars(c, now) {
		return CodeReplyKept, err
	}
	if seam.Off(seam.RefusalHold) {
		return "", nil
	}
	q := tx
	if s.db.Dialect == schema.Postgres {
		// A transaction that ends the hold waits for this close, and then finds its
		// connection.
		q = tx.Clauses(clause.Locking{Strength: "SHARE"})
	}
	app, err := readApp(q, c.App)
	switch {
	case err != nil:
		return "", err
	case app.keepsBack(c):
		return CodeRefusalHold, nil
	case db.Time(app.MutedUntil).After(now):
		return "", nil
	case c.Proven():
		return s.consentHeld(tx, c, now)
	}
	return s.importHeld(tx, c, now)
}

// keepsBack reports whether the app's refusal hold keeps back a refusal of c that was
// confirmed.
func (r appRow) keepsBack(c perennial.Connection) bool {
	return r.RefusalHold && (r.HoldSince == nil || c.Proven() && !c.SuspectSince.Before(db.Time(r.HoldSince)))
}

func readApp(tx *gorm.DB, name string) (appRow, error) {
	var rows []appRow
	if err := tx.Where("app = ?", name).Limit(1).Find(&rows).Error; err != nil {
		return appRow{}, fmt.Errorf("read app %s: %w", name, err)
	}
	if len(rows) == 0 {
		return appRow{App: name}, nil
	}
	return rows[0], nil
}

// raiseRefusalHold raises the app's refusal hold if there are more first refusals than
// usual for the app and its size, and if they are not one tenant's own.
func (s *Store) raiseRefusalHold(ctx context.Context, name string) error {
	return s.db.Durably(ctx, "count the refusals of app "+name, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		app, err := readApp(tx, name)
		if err != nil || app.RefusalHold || db.Time(app.MutedUntil).After(now) {
			return err
		}
		r, err := s.refusalsOf(tx, name, now)
		if err != nil || !r.spike() {
			return err
		}
		// Lock only now, and check again: an operator may have confirmed a moment ago.
		app, now, err = s.lockApp(tx, name, now)
		if err != nil || app.RefusalHold || db.Time(app.MutedUntil).After(now) {
			return err
		}
		return s.setRefusalHold(tx, name, r.hold(app.MutedUntil), now)
	})
}

// refusals has the counts that a refusal hold depends on.
type refusals struct {
	recent, before, size int64
	since                time.Time        // the first within the window
	tenants              map[string]int64 // those of the window
	others               bool             // the app has other tenants than these
	sizeOfFirst          int64            // the active connections of the only tenant
}

func (r refusals) names() []string {
	names := slices.Sorted(maps.Keys(r.tenants))
	return names[:min(len(names), maxNamed)]
}

// hold raises a hold because of these refusals.
func (r refusals) hold(muted *time.Time) holdChange {
	reason := fmt.Sprintf("%d of %d connections were refused within %s", r.recent, r.size, refusalWindow)
	return holdChange{raise: true, reason: reason, since: r.since, muted: muted, refused: int(r.recent), tenants: r.names()}
}

// spike reports whether there are more refusals than usual, of more than one tenant, or
// of a tenant that has most of the app. It is pure.
func (r refusals) spike() bool {
	if r.recent < minSpike || r.recent < holdThreshold(r.size, r.before) {
		return false
	}
	return len(r.tenants) > 1 || !r.others || 2*r.sizeOfFirst > r.size
}

// refusalsOf reads the refusals of an app. It reads no more than is needed to see that
// there are few.
func (s *Store) refusalsOf(tx *gorm.DB, name string, now time.Time) (r refusals, err error) {
	within := func(from, to time.Time) *gorm.DB {
		return tx.Table("first_refusals AS r").Where("r.app = ? AND r.refused_at > ? AND r.refused_at <= ?", name, db.Nullable(from), db.Nullable(to))
	}
	start := now.Add(-refusalWindow)
	if err = within(start, now).Count(&r.recent).Error; err != nil || r.recent < minSpike {
		return r, db.Wrap("count the refusals of app "+name, err)
	}
	var of []struct {
		TenantID string
		N        int64
	}
	var first []firstRefusal
	active := func() *gorm.DB { return tx.Table("connections").Where("app = ? AND status = 'active'", name) }
	err = errorsOf(within(now.Add(-baseline), start).Count(&r.before).Error, active().Count(&r.size).Error,
		within(start, now).Order("r.refused_at").Limit(1).Find(&first).Error,
		within(start, now).Joins("JOIN connections AS c ON c.id = r.connection_id").Select("c.tenant_id, count(*) AS n").Group("c.tenant_id").Scan(&of).Error)
	if err != nil {
		return r, fmt.Errorf("count the refusals of app %s: %w", name, err)
	}
	if len(first) > 0 {
		r.since = db.Time(first[0].RefusedAt)
	}
	r.tenants = map[string]int64{}
	for _, t := range of {
		r.tenants[t.TenantID] = t.N
	}
	if len(of) != 1 {
		return r, nil
	}
	var other []string
	err = errorsOf(active().Where("tenant_id <> ?", of[0].TenantID).Limit(1).Pluck("tenant_id", &other).Error,
		active().Where("tenant_id = ?", of[0].TenantID).Count(&r.sizeOfFirst).Error)
	r.others = len(other) > 0
	return r, db.Wrap("count the tenants of app "+name, err)
}

// minSpike: fewer refusals than this are never treated as a spike.
const minSpike = 3

// holdThreshold returns how many first refusals within the window make a spike, for an
// app with size active connections and before refusals over the baseline: a tenth of a
// small app, ten plus the square root of a larger one, at most thirty, and at least four
// times the usual number.
func holdThreshold(size, before int64) int64 {
	usual := float64(before) * float64(refusalWindow) / float64(baseline)
	bySize := min(float64(size)/10, 10+math.Sqrt(float64(size)), 30)
	return int64(math.Ceil(math.Max(minSpike, math.Max(bySize, 4*usual))))
}

// holdChange raises a refusal hold or ends it.
type holdChange struct {
	raise   bool
	reason  string
	since   time.Time // of the first evidence; zero: an operator raised it
	muted   *time.Time
	refused int
	tenants []string
}

func (s *Store) setRefusalHold(tx *gorm.DB, name string, h holdChange, now time.Time) error {
	at := now.UTC().Truncate(time.Microsecond)
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&appRow{App: name, UpdatedAt: &at}).Error; err != nil {
		return fmt.Errorf("write app %s: %w", name, err)
	}
	if err := updateApp(tx, name, now, h.columns(now)); err != nil {
		return err
	}
	return outbox.Append(tx, h.event(name), now)
}

// columns returns the columns of the app's row that the change writes.
func (h holdChange) columns(now time.Time) columns {
	set := columns{"hold_terminal": h.raise, "hold_reason": h.reason, "held_at": nil, "hold_since": db.Nullable(h.since), "muted_until": nil}
	if h.raise {
		set["held_at"] = db.Nullable(now)
	}
	if h.muted != nil {
		set["muted_until"] = db.Nullable(*h.muted)
	}
	return set
}

// event tells operators of the change.
func (h holdChange) event(app string) perennial.Event {
	e := perennial.Event{Type: perennial.EventHoldEnded, App: app, Data: perennial.EventData{Code: h.reason, Connections: h.refused, Tenants: h.tenants}}
	if h.raise {
		e.Type = perennial.EventHoldRaised
	}
	return e
}

// RaiseRefusalHold raises an app's refusal hold by hand: refreshing goes on, but no
// connection moves to reconnect_required. It may be repeated.
func (s *Store) RaiseRefusalHold(ctx context.Context, name, reason string) error {
	return s.db.Durably(ctx, "hold app "+name, func(tx *gorm.DB) error {
		app, err := readApp(tx, name)
		if err != nil || app.RefusalHold {
			return err
		}
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		return s.setRefusalHold(tx, name, holdChange{raise: true, reason: reason}, now)
	})
}

// ConfirmRefusalHold ends a hold because the refusals are real. Each connection on hold
// is presented once more, and a refusal is then terminal. For an hour no spike raises a
// new hold.
func (s *Store) ConfirmRefusalHold(ctx context.Context, name string) error {
	return s.endRefusalHold(ctx, name, endHold{mute: muteAfterConfirm, rate: DefaultReleaseRate})
}

// DismissRefusalHold ends a hold as a false alarm. It forgets every first refusal of
// the app, so that each connection again needs two to become terminal. It also makes
// the next probe of the app's open circuits due.
func (s *Store) DismissRefusalHold(ctx context.Context, name string) error {
	return s.endRefusalHold(ctx, name, endHold{rate: DefaultReleaseRate, more: columns{"suspect_since": nil, "suspect_digest": "", "confirm_at": nil}})
}

// endHold says how a hold ends.
type endHold struct {
	mute time.Duration // no spike raises a new one for so long
	rate float64       // how many of the connections that it kept back are presented in a second
	more columns       // written into each of them
}

func (s *Store) endRefusalHold(ctx context.Context, name string, how endHold) error {
	err := s.db.Durably(ctx, "end the hold of app "+name, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		var muted *time.Time
		if how.mute > 0 {
			until := now.Add(how.mute)
			muted = &until
		}
		if err := tx.Table("circuits").Where("app = ? AND reason <> ''", name).Updates(map[string]any{"next_probe_at": db.Nullable(now)}).Error; err != nil {
			return fmt.Errorf("make the probe of app %s due: %w", name, err)
		}
		if err := tx.Where("app = ?", name).Delete(&firstRefusal{}).Error; err != nil {
			return fmt.Errorf("forget the refusals of app %s: %w", name, err)
		}
		if err := tx.Where("app = ?", name).Delete(&cohortHold{}).Error; err != nil {
			return fmt.Errorf("end the holds of the cohorts of app %s: %w", name, err)
		}
		return s.setRefusalHold(tx, name, holdChange{muted: muted}, now)
	})
	if err != nil {
		return err
	}
	return s.retrySuspects(ctx, name, how) // transactions of their own: see Admit
}

// retrySuspects makes the refused connections of an app due, at the rate of how, those with
// the earliest expiry first, and writes its columns. After a kill the rest wait until the
// end of their wait.
func (s *Store) retrySuspects(ctx context.Context, name string, how endHold) error {
	var ids []string
	err := s.db.With(ctx).Table("connections").Where("status = 'active' AND app = ? AND suspect_since IS NOT NULL", name).Order("expires_at, id").Pluck("id", &ids).Error
	if err != nil {
		return fmt.Errorf("find the refused connections of app %s: %w", name, err)
	}
	err = s.retryInTurn(ctx, ids, how.rate, func(tx *gorm.DB, until, now time.Time) error {
		return tx.Where("suspect_since IS NOT NULL").Updates(map[string]any(s.shortened(until, now).with(how.more))).Error
	})
	return db.Wrap("retry the refused connections of app "+name, err)
}

// retryInTurn spreads the next attempts of connections over the time from now, at the
// given rate a second, in their order. write shortens the wait of a few of them, which have
// no open attempt, until the given time. Each chunk is its own transaction.
func (s *Store) retryInTurn(ctx context.Context, ids []string, rate float64, write func(tx *gorm.DB, until, now time.Time) error) error {
	began, err := s.Now(ctx)
	if err != nil {
		return err
	}
	gap, size := time.Duration(float64(time.Second)/rate), min(max(int(rate), 1), releaseBatch)
	for start := 0; start < len(ids); start += releaseChunk {
		err := s.db.Durably(ctx, "retry connections", func(tx *gorm.DB) error {
			end := min(start+releaseChunk, len(ids))
			for i := start; i < end; i += size {
				wait := min(time.Duration(i)*gap, perennial.MaxWait-time.Hour) // a longer one would not be believed
				these := tx.Table("connections").Where("id IN ? AND attempt_id = ''", ids[i:min(i+size, end)])
				if err := write(these, began.Add(wait), began); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
