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

// NoteReply counts a failure toward the circuit of the app and host, closes the
// circuit, or slows the app down. Opening and closing emit an event. Closing starts the
// release of the waiting connections. It may be repeated after an error.
func (s *Store) NoteReply(ctx context.Context, req NoteRequest) error {
	c := req.Connection
	closing, rate := false, 0.0
	err := s.db.Durably(ctx, "note a reply to app "+c.App, func(tx *gorm.DB) error {
		circuit, app, now, err := s.lockGate(tx, c.App, c.Host)
		if err != nil {
			return err
		}
		if req.SlowDown > 0 {
			until := now.Add(req.SlowDown) // the later end wins: a reply in flight shortens nothing
			if req.SlowDownHost {
				err = updateCircuit(tx, circuit, now, columns{"slow_until": db.Nullable(latest(until, db.Time(circuit.SlowUntil)))})
			} else {
				err = updateApp(tx, app.App, now, columns{"slow_until": db.Nullable(latest(until, db.Time(app.SlowUntil)))})
			}
			if err != nil {
				return err
			}
		}
		if circuit.Reason != "" && req.closes(circuit) {
			closing, rate = true, ReleaseRate(req.Rate, circuit.Connections)
			return nil
		}
		if reason := circuitReason[req.Outcome]; reason != "" {
			return s.weigh(tx, circuit, req, reason, now)
		}
		return nil
	})
	if err != nil || !closing {
		return err
	}
	if err := s.markOpenAttempts(ctx, c); err != nil {
		return err
	}
	// Make the waiting connections due first. If this process ends in between, they
	// find the circuit open and wait again; if it closed the circuit first, they would
	// sleep on. This is a transaction of its own: see Admit. Connections that are due
	// and have not asked get a time in the release too, because pacers would take them
	// all at once.
	due := func(tx *gorm.DB, now time.Time) *gorm.DB {
		return tx.Where("app = ? AND host = ?", c.App, c.Host).
			Where("queued_at IS NOT NULL OR failure_count = 0 AND next_refresh_at <= ? AND (next_attempt_at IS NULL OR next_attempt_at <= ?)", db.Nullable(now), db.Nullable(now))
	}
	if err := s.release(ctx, closesWithin, rate, columns{"queued_at": gorm.Expr("COALESCE(queued_at, next_refresh_at)")}, due); err != nil {
		return err
	}
	return s.db.Durably(ctx, "close the circuit of app "+c.App, func(tx *gorm.DB) error {
		circuit, _, now, err := s.lockGate(tx, c.App, c.Host)
		if err != nil || circuit.Reason == "" { // another process was first
			return err
		}
		return s.closeCircuit(tx, circuit, rate, req.Interval, now)
	})
}

// closesWithin is how soon the first waiting connection becomes due.
const closesWithin = time.Second

// markOpenAttempts marks the connections with attempts under way while a circuit
// closes, by setting queued_at. [Store.release] leaves them alone, and their replies
// may be from before the closing: see closeColumns. A claim has cleared queued_at, a
// save clears it again.
func (s *Store) markOpenAttempts(ctx context.Context, c perennial.Connection) error {
	return s.db.Durably(ctx, "queue the open attempts of app "+c.App, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		err = tx.Table("connections").Where("app = ? AND host = ? AND status = 'active' AND attempt_id <> ''", c.App, c.Host).
			Updates(map[string]any{"queued_at": db.Nullable(now)}).Error
		if err != nil {
			return fmt.Errorf("queue the open attempts of app %s: %w", c.App, err)
		}
		return nil
	})
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
	is, e, err := s.isApps(tx, req, failure, now)
	if err != nil || !is {
		return err
	}
	size, err := sizeOf(tx, circuit)
	if err != nil {
		return err
	}
	err = updateCircuit(tx, circuit, now, columns{"reason": reason, "code": req.Code, "opened_at": db.Nullable(now), "next_probe_at": db.Nullable(now.Add(req.Interval)),
		"probes": 0, "last_canary": req.Connection.ID, "connections": size, "unproven_only": e.unprovenOnly})
	if err != nil {
		return err
	}
	return outbox.Append(tx, perennial.Event{Type: perennial.EventCircuitOpened, App: circuit.App,
		Data: perennial.EventData{Host: circuit.Host, Code: req.Code, Connections: len(e.failed), Tenants: e.names()}}, now)
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

func (s *Store) closeCircuit(tx *gorm.DB, circuit circuitRow, rate float64, interval time.Duration, now time.Time) error {
	var waiting int64
	if err := tx.Table("connections").Where("status = 'active'").Where(queuedAt, circuit.App, circuit.Host).Count(&waiting).Error; err != nil {
		return fmt.Errorf("count the waiting connections of app %s: %w", circuit.App, err)
	}
	until := now.Add(time.Duration(float64(waiting)/rate*float64(time.Second)) + 2*interval)
	err := errorsOf(
		updateCircuit(tx, circuit, now, columns{"reason": "", "code": "", "opened_at": nil, "next_probe_at": nil, "probes": 0, "last_canary": "", "unproven_only": false}),
		updateApp(tx, circuit.App, now, columns{"release_until": db.Nullable(until)}))
	if err != nil {
		return err
	}
	return outbox.Append(tx, perennial.Event{Type: perennial.EventCircuitClosed, App: circuit.App, Data: perennial.EventData{Host: circuit.Host, Code: circuit.Code}}, now)
}

// release makes waiting active connections due, the first after the given time and then
// at the given rate a second, those with the earliest expiry first. It also writes the
// columns in more.
func (s *Store) release(ctx context.Context, after time.Duration, rate float64, more columns, which func(tx *gorm.DB, now time.Time) *gorm.DB) error {
	return s.db.Durably(ctx, "let the waiting connections go", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		var ids []string
		err = which(tx.Table("connections").Where("status = 'active'"), now).Order("expires_at, id").Pluck("id", &ids).Error
		if err != nil {
			return fmt.Errorf("find the waiting connections: %w", err)
		}
		gap := time.Duration(float64(time.Second) / rate)
		size := min(max(int(rate), 1), releaseBatch)
		for start := 0; start < len(ids); start += size {
			batch := ids[start:min(start+size, len(ids))]
			wait := min(after+time.Duration(start)*gap, perennial.MaxWait-time.Hour) // a longer one would not be believed
			set := columns{"next_attempt_at": db.Nullable(now.Add(wait))}.with(more)
			err := which(tx.Table("connections"), now).Where("id IN ? AND attempt_id = ''", batch).Updates(map[string]any(set)).Error
			if err != nil {
				return fmt.Errorf("let the waiting connections go: %w", err)
			}
		}
		return nil
	})
}

// releaseBatch is the largest number of connections that one statement makes due. They
// become due together; the rate slots space them.
const releaseBatch = 25
