package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"gorm.io/gorm"
)

// NoteRequest reports the outcome of a presentation to the gate.
type NoteRequest struct {
	Connection perennial.Connection
	Outcome    perennial.Outcome
	Code       string
	// SlowDown is how long the app must pause, as a whole or at this host only; 0: not
	// at all.
	SlowDown     time.Duration
	SlowDownHost bool
	Interval     time.Duration // between two probes
	Rate         float64       // the app's limit of requests a second; 0: none
	// ClientFirst: the provider checks the client before the grant, so a refused grant
	// shows that it accepts the client.
	ClientFirst bool
}

// The reasons why a circuit opens.
const (
	reasonMisconfigured = "misconfigured" // the provider rejects the client
	reasonUnavailable   = "unavailable"   // no usable reply arrives
	reasonRejected      = "rejected"      // the provider refuses the requests and does not say why
)

// circuitReason gives the reason that an outcome counts toward.
var circuitReason = map[perennial.Outcome]string{
	perennial.OutcomeMisconfigured: reasonMisconfigured,
	perennial.OutcomeUnavailable:   reasonUnavailable,
	perennial.OutcomeUnknown:       reasonUnavailable,
	perennial.OutcomeRejected:      reasonRejected,
}

// NoteReply counts a failure toward the circuit of the app and host, or slows the app
// down. A success at an open circuit begins the release of the waiting connections,
// which [Store.Release] continues; a failure of the circuit's kind during the release
// opens the circuit again. Each change of the state emits an event. At a closed circuit, a
// success after a long time of failures lets others of the kind through; see
// [Store.letThrough]. NoteReply may be repeated after an error.
func (s *Store) NoteReply(ctx context.Context, req NoteRequest) error {
	c := req.Connection
	recovery := false
	err := s.db.Durably(ctx, "note a reply to app "+c.App, func(tx *gorm.DB) error {
		circuit, app, now, err := s.lockGate(tx, c.App, c.Host)
		recovery = false
		if err != nil {
			return err
		}
		if err := slowDown(tx, circuit, app, req, now); err != nil {
			return err
		}
		reason := circuitReason[req.Outcome]
		switch {
		case circuit.releasing():
			return s.noteWhileReleasing(tx, circuit, req, reason, now)
		case circuit.Reason != "" && req.closes(circuit):
			return s.beginRelease(tx, circuit, now)
		case reason != "":
			return s.weigh(tx, circuit, req, reason, now)
		case circuit.recovers(req, now):
			recovery = true
			return updateCircuit(tx, circuit, now, columns{"recovered_at": db.Nullable(now)})
		}
		return nil
	})
	if err != nil || !recovery {
		return err
	}
	return s.letThrough(ctx, req) // transactions of their own: see Admit
}

// noteWhileReleasing opens a circuit again if the failure shows that its trouble is not
// over: it is of the circuit's kind, its attempt began after the release, and its
// connection had not failed before, neither in this outage nor earlier. One that had
// fails perhaps for itself alone, and would keep the others waiting for ever. After an
// operator's start any kind will do: there was no trouble to be over. Failures of
// another kind open it again when they suffice to open a circuit.
func (s *Store) noteWhileReleasing(tx *gorm.DB, circuit circuitRow, req NoteRequest, reason string, now time.Time) error {
	if reason == "" {
		return nil
	}
	failure, err := recordFailure(tx, req, reason, now)
	if err != nil {
		return err
	}
	if reason != circuit.Reason && circuit.Code != CodeStopped { // another trouble, with evidence of its own
		is, _, err := s.isApps(tx, circuit, req, failure, now)
		if err != nil || !is {
			return err
		}
		return s.reopenCircuit(tx, circuit, req, reason, now)
	}
	began := req.Connection.Open.StartedAt
	sinceRelease := began.IsZero() || !began.Before(db.Time(circuit.ReleasingAt))
	fresh := (circuit.UnprovenOnly || failure.WasWell) && !db.Time(failure.Since).Before(db.Time(circuit.ReleasingAt))
	if !sinceRelease || !fresh {
		return nil
	}
	return s.reopenCircuit(tx, circuit, req, reason, now)
}

// slowDown writes until when the provider asked the app, or its host, for fewer
// requests. The later end wins: a reply in flight shortens nothing.
func slowDown(tx *gorm.DB, circuit circuitRow, app appRow, req NoteRequest, now time.Time) error {
	if req.SlowDown <= 0 {
		return nil
	}
	until := now.Add(req.SlowDown)
	if req.SlowDownHost {
		return updateCircuit(tx, circuit, now, columns{"slow_until": db.Nullable(latest(until, db.Time(circuit.SlowUntil)))})
	}
	return updateApp(tx, app.App, now, columns{"slow_until": db.Nullable(latest(until, db.Time(app.SlowUntil)))})
}

// queuedAt matches the connections that wait at a circuit.
const queuedAt = "app = ? AND host = ? AND queued_at IS NOT NULL"

// closes reports whether the reply disproves the reason of an open circuit. Only a
// success does; or, where the client is rejected, a refused grant of a provider that
// checks the client first.
func (req NoteRequest) closes(circuit circuitRow) bool {
	return req.Outcome == perennial.OutcomeRefreshed ||
		req.Outcome == perennial.OutcomeRevoked && circuit.Reason == reasonMisconfigured && req.ClientFirst
}

// weigh records a failure and opens the circuit if it is the app's trouble. In an open
// circuit another kind of failure changes the reason, and releases nobody.
func (s *Store) weigh(tx *gorm.DB, circuit circuitRow, req NoteRequest, reason string, now time.Time) error {
	failure, err := recordFailure(tx, req, reason, now)
	if err != nil {
		return err
	}
	if circuit.Reason != "" {
		if circuit.Reason == reason || !circuit.bars(req.Connection) || !circuit.UnprovenOnly && !req.Connection.Proven() {
			return nil
		}
		return updateCircuit(tx, circuit, now, columns{"reason": reason, "code": req.Code})
	}
	is, e, err := s.isApps(tx, circuit, req, failure, now)
	if err != nil || !is {
		return err
	}
	size, err := sizeOf(tx, circuit)
	if err != nil {
		return err
	}
	err = updateCircuit(tx, circuit, now, columns{"reason": reason, "code": req.Code, "opened_at": db.Nullable(now), "next_probe_at": db.Nullable(now.Add(req.Interval)),
		"probes": 0, "last_canary": req.Connection.ID, "called_canary": "", "called_at": nil, "connections": size, "unproven_only": e.unprovenOnly})
	if err != nil {
		return err
	}
	opened := circuit.event(perennial.EventCircuitOpened, req.Code)
	opened.Data.Connections, opened.Data.Tenants = len(e.failed), e.names()
	return outbox.Append(tx, opened, now)
}

// circuitAt returns the circuit of an app at a host as long as nothing ever opened it.
func circuitAt(app, host string) circuitRow { return circuitRow{App: app, Host: host} }

// event returns an event of the circuit, for operators.
func (r circuitRow) event(kind perennial.EventType, code string) perennial.Event {
	return perennial.Event{Type: kind, App: r.App, Data: perennial.EventData{Host: r.Host, Code: code}}
}

// sizeOf counts a circuit's active connections.
func sizeOf(tx *gorm.DB, r circuitRow) (size int64, err error) {
	err = tx.Table("connections").Where("app = ? AND host = ? AND status = 'active'", r.App, r.Host).Count(&size).Error
	if err != nil {
		return 0, fmt.Errorf("count the connections of app %s: %w", r.App, err)
	}
	return size, nil
}

// succeededSince reports whether a connection of the circuit was refreshed after since.
// It asks the database only if this process saw no such success itself: no index leads
// to the newest one, because a save must not have to maintain it. While others succeed,
// the search ends at the first of them. A search that finds none reads all rows, once,
// and then the circuit opens.
func (s *Store) succeededSince(tx *gorm.DB, r circuitRow, since time.Time) (bool, error) {
	if s.successes.last(r.App, r.Host).After(since) {
		return true, nil
	}
	var found []int
	err := tx.Raw("SELECT 1 FROM connections WHERE app = ? AND host = ? AND last_refreshed_at > ? AND refresh_count > 0 LIMIT 1",
		r.App, r.Host, db.Nullable(since)).Scan(&found).Error
	if err != nil {
		return false, fmt.Errorf("find a success of app %s: %w", r.App, err)
	}
	return len(found) > 0, nil
}
