package store

import (
	"bytes"
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
)

// Memory makes the same decisions as [Store] over rows in memory, by a clock of the
// caller's. It is for models and benchmarks of the engine: nothing outlives the
// process. It keeps no events, and the caller raises refusal holds. It is safe for
// concurrent use.
type Memory struct {
	Clock func() time.Time // the database's

	mu       sync.Mutex
	rows     map[string]row
	circuits map[string]circuitRow
	apps     map[string]appRow
	Ledger   []perennial.Attempt // do not read it while the store is in use
}

// NewMemory returns an empty store with a clock.
func NewMemory(clock func() time.Time) *Memory {
	return &Memory{Clock: clock, rows: map[string]row{}, circuits: map[string]circuitRow{}, apps: map[string]appRow{}}
}

// apply writes columns into a row, as an UPDATE does.
func (r row) apply(set columns) row {
	v := reflect.ValueOf(&r).Elem()
	for name, value := range set {
		field := v.Field(fields[name])
		at, isTime := value.(time.Time)
		switch {
		case value == nil:
			field.SetZero()
		case isTime:
			field.Set(reflect.ValueOf(&at))
		default:
			field.Set(reflect.ValueOf(value).Convert(field.Type()))
		}
	}
	return r
}

// Put creates a connection with a first token set, or gives one a new grant.
func (m *Memory) Put(c perennial.Connection, w TokenWrite) perennial.Connection {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Clock()
	r, ok := m.rows[c.ID]
	if !ok {
		r = row{ID: c.ID, TenantID: c.TenantID, App: c.App, Provider: c.Provider, Host: c.Host, AccountID: c.AccountID, CreatedAt: &now}
	}
	m.rows[c.ID] = r.apply(tokenColumns(w, now))
	return m.rows[c.ID].connection()
}

// SetStatus changes a connection's status.
func (m *Memory) SetStatus(id string, s perennial.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[id] = m.rows[id].apply(columns{"status": string(s), "reason": ""})
}

// Get is [Store.Get].
func (m *Memory) Get(_ context.Context, id string) (perennial.Connection, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[id]
	if !ok {
		return perennial.Connection{}, time.Time{}, notFound(id)
	}
	return r.connection(), m.Clock(), nil
}

// Admit is [Store.Admit].
func (m *Memory) Admit(_ context.Context, req AdmitRequest) (Admission, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, c := m.Clock(), req.Connection
	circuit, ok := m.circuits[c.App+" "+c.Host]
	if !ok {
		circuit.Failed = "[]"
	}
	d := decideAdmission(circuit, m.apps[c.App], 0, req, now)
	// Only the app's rate slots are modelled: a model of one connection has no circuit.
	app := m.apps[c.App]
	if at, ok := d.app["slot_at"].(time.Time); ok {
		app.SlotAt = &at
	}
	if at, ok := d.app["backlog_at"].(time.Time); ok {
		app.BacklogAt = &at
	}
	m.apps[c.App] = app
	return d.admission, nil
}

// NoteReply does nothing: only the database has circuits.
func (m *Memory) NoteReply(context.Context, NoteRequest) error { return nil }

// Claim is [Store.Claim].
func (m *Memory) Claim(_ context.Context, req ClaimRequest) (Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[req.ID]
	if !ok {
		return Claim{Verdict: VerdictNotFound}, nil
	}
	d := decideClaim(r.connection(), req, m.Clock())
	if d.lost != nil {
		m.Ledger = append(m.Ledger, *d.lost)
	}
	m.rows[req.ID] = r.apply(d.set)
	d.claim.Connection = m.rows[req.ID].connection()
	return d.claim, nil
}

// FastClaim is [Store.FastClaim].
func (m *Memory) FastClaim(ctx context.Context, app string, req ClaimRequest) (Claim, bool, error) {
	c, now, err := m.Get(ctx, req.ID)
	if err != nil || c.App != app || c.Generation != req.Generation || !claimableAtOnce(c, now) || !m.gateOpen(c, now) {
		return Claim{}, false, nil
	}
	claim, err := m.Claim(ctx, req)
	return claim, claim.Verdict == VerdictClaimed, err
}

func (m *Memory) gateOpen(c perennial.Connection, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return gateOpen(m.circuits[c.App+" "+c.Host], m.apps[c.App], now)
}

// FastAdmit is [Store.FastAdmit]: it never applies.
func (m *Memory) FastAdmit(context.Context, FastAdmitRequest) (Admission, bool, error) {
	return Admission{}, false, nil
}

// MarkSending is [Store.MarkSending].
func (m *Memory) MarkSending(_ context.Context, id, attemptID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.rows[id].connection()
	if c.Open.ID != attemptID || !c.Open.Deadline.After(m.Clock()) {
		return perennial.Errorf(perennial.CodeConflict, "attempt %s no longer holds connection %s", attemptID, id)
	}
	m.rows[id] = m.rows[id].apply(columns{"attempt_sent": true})
	return nil
}

// Save is [Store.Save].
func (m *Memory) Save(_ context.Context, req SaveRequest) (SaveResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[req.ID]
	if !ok {
		return SaveResult{}, notFound(req.ID)
	}
	c := r.connection()
	if err := perennial.CheckGeneration(req.ID, req.Generation, req.NewGeneration); err != nil {
		return SaveResult{}, err
	}
	if c.Generation == req.NewGeneration && c.RefreshTokenDigest == req.RefreshTokenDigest && bytes.Equal(c.AccessTokenSealed, req.AccessTokenSealed) {
		return SaveResult{Stored: true, Connection: c}, nil
	}
	taken := takes(c, req)
	if taken {
		if err := c.CheckNext(req.NewGeneration); err != nil {
			return SaveResult{}, err
		}
	}
	m.Ledger = append(m.Ledger, ledgerLine(req.Ledger, req.ID, req.AttemptID))
	if !taken {
		return SaveResult{Connection: c}, nil
	}
	m.rows[req.ID] = r.apply(saveColumns(c, req, m.Clock()))
	return SaveResult{Stored: true, Recovered: c.Status == perennial.StatusReconnectRequired, Connection: m.rows[req.ID].connection()}, nil
}

// CloseAttempt is [Store.CloseAttempt].
func (m *Memory) CloseAttempt(_ context.Context, req CloseRequest) (perennial.Connection, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.rows[req.ID].connection()
	m.Ledger = append(m.Ledger, ledgerLine(req.Ledger, req.ID, req.AttemptID))
	if c.Open.ID != req.AttemptID || c.Generation != req.Generation || c.RefreshTokenDigest != req.Digest {
		return c, false, nil
	}
	held := req.Terminal != "" && m.apps[c.App].RefusalHold
	m.rows[req.ID] = m.rows[req.ID].apply(closeColumns(c, req, m.Clock(), held))
	return m.rows[req.ID].connection(), true, nil
}
