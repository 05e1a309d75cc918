package store

import (
	"context"
	"fmt"
	"math"
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

// refusalHeld records a first refusal, and reports whether the app's refusal hold
// prevents a terminal step.
func (s *Store) refusalHeld(tx *gorm.DB, c perennial.Connection, req CloseRequest, now time.Time) (bool, error) {
	if req.Suspect && !c.Suspect() {
		at := now.UTC().Truncate(time.Microsecond)
		err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "app"}, {Name: "connection_id"}}, DoUpdates: clause.AssignmentColumns([]string{"refused_at"})}).
			Create(&firstRefusal{App: c.App, ConnectionID: c.ID, RefusedAt: &at}).Error
		if err != nil {
			return false, fmt.Errorf("note the refusal of connection %s: %w", c.ID, err)
		}
	}
	if req.Terminal == "" || req.Terminal == perennial.ReasonNoRefreshToken || seam.Off(seam.RefusalHold) {
		return false, nil
	}
	if s.db.Dialect == schema.Postgres {
		// A transaction that ends the hold waits for this close, and then finds its
		// connection.
		tx = tx.Clauses(clause.Locking{Strength: "SHARE"})
	}
	app, err := readApp(tx, c.App)
	return app.RefusalHold, err
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
// usual for the app and its size.
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
		var recent, before, size int64
		counts := func(into *int64, from, to time.Time) error {
			return tx.Table("first_refusals").Where("app = ? AND refused_at > ? AND refused_at <= ?", name, db.Nullable(from), db.Nullable(to)).Count(into).Error
		}
		if err := counts(&recent, now.Add(-refusalWindow), now); err != nil || recent < minSpike {
			return err
		}
		err = errorsOf(counts(&before, now.Add(-baseline), now.Add(-refusalWindow)),
			tx.Table("connections").Where("app = ? AND status = 'active'", name).Count(&size).Error)
		if err != nil {
			return fmt.Errorf("count the refusals of app %s: %w", name, err)
		}
		if recent < holdThreshold(size, before) {
			return nil
		}
		// Lock only now, and check again: an operator may have confirmed a moment ago.
		app, now, err = s.lockApp(tx, name, now)
		if err != nil || app.RefusalHold || db.Time(app.MutedUntil).After(now) {
			return err
		}
		reason := fmt.Sprintf("%d of %d connections were refused within %s", recent, size, refusalWindow)
		return s.setRefusalHold(tx, name, true, reason, app.MutedUntil, now)
	})
}

// minSpike: fewer refusals than this are never treated as a spike.
const minSpike = 3

// holdThreshold returns how many first refusals within the window make a spike, for an
// app with size active connections and before refusals over the baseline: a tenth of a
// small app, ten plus the square root of a large one, and at least four times the usual
// number.
func holdThreshold(size, before int64) int64 {
	usual := float64(before) * float64(refusalWindow) / float64(baseline)
	bySize := math.Min(float64(size)/10, 10+math.Sqrt(float64(size)))
	return int64(math.Ceil(math.Max(minSpike, math.Max(bySize, 4*usual))))
}

func (s *Store) setRefusalHold(tx *gorm.DB, name string, hold bool, reason string, muted *time.Time, now time.Time) error {
	at := now.UTC().Truncate(time.Microsecond)
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&appRow{App: name, UpdatedAt: &at}).Error; err != nil {
		return fmt.Errorf("write app %s: %w", name, err)
	}
	set := columns{"hold_terminal": hold, "hold_reason": reason, "held_at": nil, "muted_until": nil}
	if hold {
		set["held_at"] = db.Nullable(now)
	}
	if muted != nil {
		set["muted_until"] = db.Nullable(*muted)
	}
	if err := updateApp(tx, name, now, set); err != nil {
		return err
	}
	event := perennial.EventHoldEnded
	if hold {
		event = perennial.EventHoldRaised
	}
	return outbox.Append(tx, perennial.Event{Type: event, App: name, Data: perennial.EventData{Code: reason}}, now)
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
		return s.setRefusalHold(tx, name, true, reason, nil, now)
	})
}

// ConfirmRefusalHold ends a hold because the refusals are real. Each connection on hold
// is presented once more, and a refusal is then terminal. For an hour no spike raises a
// new hold.
func (s *Store) ConfirmRefusalHold(ctx context.Context, name string) error {
	return s.endRefusalHold(ctx, name, muteAfterConfirm, nil)
}

// DismissRefusalHold ends a hold as a false alarm. It forgets every first refusal of
// the app, so that each connection again needs two to become terminal. It also makes
// the next probe of the app's open circuits due.
func (s *Store) DismissRefusalHold(ctx context.Context, name string) error {
	return s.endRefusalHold(ctx, name, 0, columns{"suspect_since": nil, "suspect_digest": "", "confirm_at": nil})
}

func (s *Store) endRefusalHold(ctx context.Context, name string, mute time.Duration, more columns) error {
	err := s.db.Durably(ctx, "end the hold of app "+name, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		var muted *time.Time
		if mute > 0 {
			until := now.Add(mute)
			muted = &until
		}
		if err := tx.Table("circuits").Where("app = ? AND reason <> ''", name).Updates(map[string]any{"next_probe_at": db.Nullable(now)}).Error; err != nil {
			return fmt.Errorf("make the probe of app %s due: %w", name, err)
		}
		if err := tx.Where("app = ?", name).Delete(&firstRefusal{}).Error; err != nil {
			return fmt.Errorf("forget the refusals of app %s: %w", name, err)
		}
		return s.setRefusalHold(tx, name, false, "", muted, now)
	})
	if err != nil {
		return err
	}
	suspects := func(tx *gorm.DB, _ time.Time) *gorm.DB {
		return tx.Where("app = ? AND suspect_since IS NOT NULL", name)
	}
	return s.release(ctx, 0, DefaultReleaseRate, more, suspects) // a transaction of its own: see Admit
}

// Circuit is the state of one app at one host.
type Circuit struct {
	App         string    `json:"app"`
	Host        string    `json:"host"`
	Open        bool      `json:"open"`
	Reason      string    `json:"reason,omitempty"` // misconfigured or unavailable
	Code        string    `json:"code,omitempty"`   // the provider's error code
	OpenedAt    time.Time `json:"opened_at,omitzero"`
	NextProbeAt time.Time `json:"next_probe_at,omitzero"`
	Probes      int       `json:"probes,omitempty"`
	LastCanary  string    `json:"last_canary,omitempty"`
	SlowUntil   time.Time `json:"slow_until,omitzero"`
}

// AppState is the state of one app across the fleet.
type AppState struct {
	App          string                     `json:"app"`
	RefusalHold  bool                       `json:"hold_terminal"`
	HoldReason   string                     `json:"hold_reason,omitempty"`
	HoldRaisedAt time.Time                  `json:"held_at,omitzero"`
	SlowUntil    time.Time                  `json:"slow_until,omitzero"`
	ReleaseUntil time.Time                  `json:"release_until,omitzero"`
	Circuits     []Circuit                  `json:"circuits"`
	Connections  map[perennial.Status]int64 `json:"connections"`
	Failing      int64                      `json:"failing"`
	Queued       int64                      `json:"queued"`  // connections that wait for a circuit or a limit
	Suspect      int64                      `json:"suspect"` // connections refused once, or on hold
}

// AppIncidents reads the state of an app without the numbers of connections, whose cost
// grows with the app. An app that never had an incident has the zero state.
func (s *Store) AppIncidents(ctx context.Context, name string) (AppState, error) {
	q := s.db.With(ctx)
	r, err := readApp(q, name)
	if err != nil {
		return AppState{}, err
	}
	out := r.state()
	out.App = name // a missing row has none
	var circuits []circuitRow
	if err := q.Where("app = ?", name).Order("host").Find(&circuits).Error; err != nil {
		return AppState{}, fmt.Errorf("read the circuits of app %s: %w", name, err)
	}
	for _, c := range circuits {
		out.Circuits = append(out.Circuits, c.circuit())
	}
	return out, nil
}

// state returns the state of the app without circuits and numbers.
func (r appRow) state() AppState {
	return AppState{App: r.App, RefusalHold: r.RefusalHold, HoldReason: r.HoldReason, HoldRaisedAt: db.Time(r.HoldRaisedAt), SlowUntil: db.Time(r.SlowUntil),
		ReleaseUntil: db.Time(r.ReleaseUntil), Circuits: []Circuit{}}
}

func (r circuitRow) circuit() Circuit {
	return Circuit{App: r.App, Host: r.Host, Open: r.Reason != "", Reason: r.Reason, Code: r.Code, OpenedAt: db.Time(r.OpenedAt),
		NextProbeAt: db.Time(r.NextProbeAt), Probes: r.Probes, LastCanary: r.LastCanary, SlowUntil: db.Time(r.SlowUntil)}
}

// AppState reads the state of an app with its numbers of connections.
func (s *Store) AppState(ctx context.Context, name string) (AppState, error) {
	out, err := s.AppIncidents(ctx, name)
	if err != nil {
		return AppState{}, err
	}
	q := s.db.With(ctx)
	if out.Connections, err = counts(q.Table("connections").Where("app = ?", name)); err != nil {
		return AppState{}, err
	}
	of := func(where string, into *int64) error {
		return q.Table("connections").Where("app = ? AND status = 'active' AND "+where, name).Count(into).Error
	}
	if err := errorsOf(of("health = 'failing'", &out.Failing), of("queued_at IS NOT NULL", &out.Queued), of("suspect_since IS NOT NULL", &out.Suspect)); err != nil {
		return AppState{}, fmt.Errorf("count the connections of app %s: %w", name, err)
	}
	return out, nil
}

// Incident is one open circuit (kind "circuit") or one raised refusal hold (kind
// "hold").
type Incident struct{ App, Host, Kind, Code string }

// Incidents lists the open circuits and raised refusal holds of all apps.
func (s *Store) Incidents(ctx context.Context) ([]Incident, error) {
	var out []Incident
	err := s.db.With(ctx).Raw(`SELECT app, host, 'circuit' AS kind, code FROM circuits WHERE reason <> ''
		UNION ALL SELECT app, '' AS host, 'hold' AS kind, '' AS code FROM apps WHERE hold_terminal ORDER BY 1, 2, 3`).Scan(&out).Error
	if err != nil {
		return nil, fmt.Errorf("read the incidents: %w", err)
	}
	return out, nil
}
