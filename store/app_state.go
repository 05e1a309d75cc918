package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
)

// Circuit is the state of one app at one host.
type Circuit struct {
	App         string    `json:"app"`
	Host        string    `json:"host"`
	Open        bool      `json:"open"` // also while it is releasing
	Releasing   bool      `json:"releasing,omitempty"`
	ReleasingAt time.Time `json:"releasing_at,omitzero"`
	Reason      string    `json:"reason,omitempty"` // misconfigured, unavailable or rejected
	Code        string    `json:"code,omitempty"`   // the provider's error code
	OpenedAt    time.Time `json:"opened_at,omitzero"`
	NextProbeAt time.Time `json:"next_probe_at,omitzero"`
	Probes      int       `json:"probes,omitempty"`
	LastCanary  string    `json:"last_canary,omitempty"`
	NextCanary  string    `json:"next_canary,omitempty"` // called to make the next probe
	CalledAt    time.Time `json:"called_at,omitzero"`
	SlowUntil   time.Time `json:"slow_until,omitzero"`
	Connections int64     `json:"connections,omitempty"` // active ones when it opened
}

// AppState is the state of one app across the fleet.
type AppState struct {
	App          string                     `json:"app"`
	RefusalHold  bool                       `json:"hold_terminal"`
	HoldReason   string                     `json:"hold_reason,omitempty"`
	HoldRaisedAt time.Time                  `json:"held_at,omitzero"`
	SlowUntil    time.Time                  `json:"slow_until,omitzero"`
	StoppedAt    time.Time                  `json:"stopped_at,omitzero"`    // since when an operator has stopped it
	OperatorDid  string                     `json:"operator_did,omitempty"` // last: stop, start, probe, close
	OperatorAt   time.Time                  `json:"operator_at,omitzero"`
	ReleaseUntil time.Time                  `json:"release_until,omitzero"`
	Circuits     []Circuit                  `json:"circuits"`
	Connections  map[perennial.Status]int64 `json:"connections"`
	Failing      int64                      `json:"failing"`
	Queued       int64                      `json:"queued"`                 // connections that wait for a circuit or a limit
	Suspect      int64                      `json:"suspect"`                // connections refused once, or on hold
	Evidence     []Evidence                 `json:"evidence,omitempty"`     // the failures of the last minutes that may be the app's
	ImportHolds  []string                   `json:"import_holds,omitempty"` // the tenants whose imports were refused in numbers
	ConsentHold  bool                       `json:"consent_hold,omitempty"` // most first refreshes after consent were refused
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
		ReleaseUntil: db.Time(r.ReleaseUntil), StoppedAt: db.Time(r.StoppedAt), OperatorDid: r.OperatorDid, OperatorAt: db.Time(r.OperatorAt), Circuits: []Circuit{}}
}

func (r circuitRow) circuit() Circuit {
	out := Circuit{App: r.App, Host: r.Host, Open: r.Reason != "", Releasing: r.releasing(), Reason: r.Reason, Code: r.Code, OpenedAt: db.Time(r.OpenedAt),
		NextProbeAt: db.Time(r.NextProbeAt), Probes: r.Probes, LastCanary: r.LastCanary, NextCanary: r.CalledCanary, CalledAt: db.Time(r.CalledAt), SlowUntil: db.Time(r.SlowUntil),
		Connections: r.Connections}
	if out.Releasing {
		out.ReleasingAt = db.Time(r.ReleasingAt)
	}
	return out
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
	if err := q.Model(&cohortHold{}).Where("app = ?", name).Order("tenant_id").Pluck("tenant_id", &out.ImportHolds).Error; err != nil {
		return AppState{}, fmt.Errorf("read the holds of app %s: %w", name, err)
	}
	if len(out.ImportHolds) > 0 && out.ImportHolds[0] == consents {
		out.ImportHolds, out.ConsentHold = out.ImportHolds[1:], true
	}
	now, err := s.db.Clock(q)
	if err != nil {
		return AppState{}, err
	}
	out.Evidence, err = s.evidenceOf(q, name, now)
	return out, err
}

// AppTrouble reads the state of an app with its evidence, without the numbers of
// connections, and the database's clock.
func (s *Store) AppTrouble(ctx context.Context, name string) (out AppState, now time.Time, err error) {
	if out, err = s.AppIncidents(ctx, name); err != nil {
		return out, now, err
	}
	q := s.db.With(ctx)
	if now, err = s.db.Clock(q); err != nil {
		return out, now, err
	}
	out.Evidence, err = s.evidenceOf(q, name, now)
	return out, now, err
}

// TroubledApps returns the names, in order, of the apps with an open circuit, one that is
// releasing, a refusal hold or a stop.
func (s *Store) TroubledApps(ctx context.Context) (apps []string, err error) {
	err = s.db.With(ctx).Raw("SELECT app FROM circuits WHERE reason <> '' UNION SELECT app FROM apps WHERE hold_terminal OR stopped_at IS NOT NULL ORDER BY 1").Scan(&apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps in trouble: %w", err)
	}
	return apps, nil
}

// Incident is one open circuit (kind "circuit"), one that is releasing (kind "release"),
// one raised refusal hold (kind "hold"), one operator's stop (kind "stop"), or one app
// whose provider's metadata have changed and wait for an operator (kind "metadata").
type Incident struct{ App, Host, Kind, Code string }

// metadataSeen is for how long a change counts after the last check that saw it: an app
// that left the configuration is not checked any more.
const metadataSeen = 7 * 24 * time.Hour

// Incidents lists the incidents of all apps.
func (s *Store) Incidents(ctx context.Context) ([]Incident, error) {
	var out []Incident
	q := s.db.With(ctx)
	now, err := s.db.Clock(q)
	if err == nil {
		err = q.Raw(`SELECT app, host, CASE WHEN `+releasing+` THEN 'release' ELSE 'circuit' END AS kind, code FROM circuits WHERE reason <> ''
		UNION ALL SELECT app, '' AS host, 'hold' AS kind, '' AS code FROM apps WHERE hold_terminal
		UNION ALL SELECT app, '' AS host, 'stop' AS kind, '' AS code FROM apps WHERE stopped_at IS NOT NULL
		UNION ALL SELECT app, '' AS host, 'metadata' AS kind, 'changed' AS code FROM provider_metadata WHERE changed <> '' AND checked_at > ? ORDER BY 1, 2, 3`,
			db.Nullable(now.Add(-metadataSeen))).Scan(&out).Error
	}
	if err != nil {
		return nil, fmt.Errorf("read the incidents: %w", err)
	}
	return out, nil
}
