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

// CodeStopped is why the gate admits no connection of an app that an operator has
// stopped. It is also the code of the circuits that release them after a start.
const CodeStopped = "stopped"

const (
	// stoppedWait is how long a connection of a stopped app waits before it asks again: at
	// least this, at most twice as long. A start wakes it earlier.
	stoppedWait = 10 * time.Minute
	// startedHosts bounds the hosts whose connections a start releases one after another.
	// Those of further hosts ask by themselves, spread over two stoppedWait.
	startedHosts = 200
)

// The operator's actions on an app, as its state shows them.
const (
	didStop  = "stop"
	didStart = "start"
	didProbe = "probe"
	didClose = "close"
)

// StopApp stops an app: the gate admits none of its connections, canaries included,
// until [Store.StartApp]. Requests that are under way end. It may be repeated.
func (s *Store) StopApp(ctx context.Context, name string) error {
	return s.changeApp(ctx, name, "stop", func(tx *gorm.DB, app appRow, now time.Time) error {
		if app.StoppedAt != nil {
			return nil
		}
		return errorsOf(
			updateApp(tx, name, now, operatorDid(didStop, now).with(columns{"stopped_at": db.Nullable(now)})),
			outbox.Append(tx, perennial.Event{Type: perennial.EventAppStopped, App: name}, now))
	})
}

// changeApp runs do in a transaction that has locked the app's row.
func (s *Store) changeApp(ctx context.Context, name, what string, do func(tx *gorm.DB, app appRow, now time.Time) error) error {
	return s.db.Durably(ctx, what+" app "+name, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		app, now, err := s.lockApp(tx, name, now)
		if err != nil {
			return err
		}
		return do(tx, app, now)
	})
}

// operatorDid returns the columns that record an operator's last action.
func operatorDid(what string, now time.Time) columns {
	return columns{"operator_did": what, "operator_at": db.Nullable(now)}
}

// StartApp ends a stop. It opens no door: at each host the connections that wait are
// released one after another, as after an outage, and a circuit that is open is probed.
// After a kill in the middle the app is still stopped; repeat it.
func (s *Store) StartApp(ctx context.Context, name string) error {
	app, err := readApp(s.db.With(ctx), name)
	if err != nil || app.StoppedAt == nil {
		return err
	}
	hosts, err := s.hostsOf(ctx, name, startedHosts)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if err := s.startAt(ctx, name, host); err != nil {
			return err
		}
	}
	return s.changeApp(ctx, name, "start", func(tx *gorm.DB, app appRow, now time.Time) error {
		if app.StoppedAt == nil {
			return nil
		}
		return errorsOf(
			updateApp(tx, name, now, operatorDid(didStart, now).with(columns{"stopped_at": nil})),
			outbox.Append(tx, perennial.Event{Type: perennial.EventAppStarted, App: name}, now))
	})
}

// hostsOf returns the hosts of an app's connections, at most limit.
func (s *Store) hostsOf(ctx context.Context, app string, limit int) (hosts []string, err error) {
	q := s.db.With(ctx)
	for next := []string{""}; len(hosts) < limit; {
		where := "app = ? AND host > ?"
		if len(hosts) == 0 {
			where = "app = ? AND host >= ?" // a host may have no name
		}
		last := next[0]
		next = nil
		if err := q.Raw("SELECT host FROM connections WHERE "+where+" ORDER BY host LIMIT 1", app, last).Scan(&next).Error; err != nil {
			return nil, fmt.Errorf("list the hosts of app %s: %w", app, err)
		}
		if len(next) == 0 {
			break
		}
		hosts = append(hosts, next[0])
	}
	return hosts, nil
}

// startAt prepares one host of a stopped app for its start.
func (s *Store) startAt(ctx context.Context, name, host string) error {
	return s.db.Durably(ctx, "start app "+name, func(tx *gorm.DB) error {
		circuit, app, now, err := s.lockGate(tx, name, host)
		if err != nil || app.StoppedAt == nil {
			return err
		}
		switch {
		case circuit.releasing(): // those that asked meanwhile wait too, and those with a turn could not go
			return errorsOf(takeTurnsBack(tx, circuit), updateCircuit(tx, circuit, now, columns{"releasing_at": db.Nullable(now), "progress": ""}))
		case circuit.Reason != "":
			return updateCircuit(tx, circuit, now, columns{"next_probe_at": db.Nullable(now)})
		}
		size, err := sizeOf(tx, circuit)
		if err != nil {
			return err
		}
		// Nobody knows whether the provider answers by now. So the release is that after an
		// outage, and the first failure of any kind opens the circuit.
		err = updateCircuit(tx, circuit, now, columns{"reason": reasonUnavailable, "code": CodeStopped, "opened_at": db.Nullable(*app.StoppedAt), "next_probe_at": db.Nullable(now),
			"probes": 0, "last_canary": "", "connections": size, "unproven_only": false})
		if err != nil {
			return err
		}
		circuit.Code = CodeStopped
		return s.beginRelease(tx, circuit, now)
	})
}

// CloseCircuits closes the open circuits of an app, on an operator's word, as a good probe
// does: by a release. It returns their hosts. None is an error of
// [perennial.CodeConflict].
func (s *Store) CloseCircuits(ctx context.Context, name string) (closed []string, err error) {
	hosts, err := s.openHosts(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		err := s.db.Durably(ctx, "close the circuit of app "+name, func(tx *gorm.DB) error {
			circuit, _, now, err := s.lockGate(tx, name, host)
			if err != nil || circuit.Reason == "" || circuit.releasing() {
				return err
			}
			closed = append(closed, host)
			return errorsOf(updateApp(tx, name, now, operatorDid(didClose, now)), s.beginRelease(tx, circuit, now))
		})
		if err != nil {
			return closed, err
		}
	}
	return closed, nil
}

// ProbeNow makes the probes of an app's open circuits due, on an operator's word, and
// calls a canary for each: one that only its own backoff keeps, or whose token is not
// due yet. It returns those that it called; a circuit where nobody may go has none.
// Refresh them afterwards. No open circuit is an error of [perennial.CodeConflict].
func (s *Store) ProbeNow(ctx context.Context, app string, class perennial.ReplayClass) ([]perennial.Connection, error) {
	if _, err := s.openHosts(ctx, app); err != nil {
		return nil, err
	}
	err := s.changeApp(ctx, app, "probe", func(tx *gorm.DB, _ appRow, now time.Time) error {
		return updateApp(tx, app, now, operatorDid(didProbe, now))
	})
	if err != nil {
		return nil, err
	}
	return s.CallCanaries(ctx, CanaryRequest{App: app, Class: class, Operator: true})
}

// openHosts returns the hosts at which the app's circuit is open. It refuses an app that
// is stopped, or has none.
func (s *Store) openHosts(ctx context.Context, name string) ([]string, error) {
	state, err := s.AppIncidents(ctx, name)
	if err != nil {
		return nil, err
	}
	if !state.StoppedAt.IsZero() {
		return nil, perennial.Errorf(perennial.CodeConflict, "app %s is stopped since %s: start it with `perennial app start %s` first", name, state.StoppedAt.Format(time.RFC3339), name)
	}
	var hosts []string
	for _, c := range state.Circuits {
		if c.Open && !c.Releasing {
			hosts = append(hosts, c.Host)
		}
	}
	if len(hosts) == 0 {
		return nil, perennial.Errorf(perennial.CodeConflict, "no circuit of app %s is open: there is nothing to probe or to close", name)
	}
	return hosts, nil
}
