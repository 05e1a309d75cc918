package store

import (
	"bytes"
	"context"
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
	rows     map[string]perennial.Connection
	circuits map[string]circuitRow
	apps     map[string]appRow
	Ledger   []perennial.Attempt // do not read it while the store is in use
}

// NewMemory returns an empty store with a clock.
func NewMemory(clock func() time.Time) *Memory {
	return &Memory{Clock: clock, rows: map[string]perennial.Connection{}, circuits: map[string]circuitRow{}, apps: map[string]appRow{}}
}

// write applies columns to a row, as an UPDATE does.
func (m *Memory) write(id string, set columns) perennial.Connection {
	c, err := connections.apply(m.rows[id], set)
	if err != nil {
		panic(err)
	}
	m.rows[id] = c
	return tidy(c)
}

// Put creates a connection with a first token set, or gives one a new grant.
func (m *Memory) Put(c perennial.Connection, w TokenWrite) perennial.Connection {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Clock()
	if _, ok := m.rows[c.ID]; !ok {
		m.rows[c.ID] = perennial.Connection{ID: c.ID, TenantID: c.TenantID, App: c.App, Provider: c.Provider, Host: c.Host, AccountID: c.AccountID, CreatedAt: now}
	}
	return m.write(c.ID, tokenColumns(w, now))
}

// SetStatus changes a connection's status.
func (m *Memory) SetStatus(id string, s perennial.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write(id, columns{"status": string(s), "reason": ""})
}

// Get is [Store.Get].
func (m *Memory) Get(_ context.Context, _ perennial.Access, id string) (perennial.Connection, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.rows[id]
	if !ok {
		return perennial.Connection{}, time.Time{}, notFound(id)
	}
	return tidy(c), m.Clock(), nil
}

// Admit is [Store.Admit].
func (m *Memory) Admit(_ context.Context, req AdmitRequest) (Admission, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, c := m.Clock(), req.Connection
	circuit := m.circuits[c.App+" "+c.Host]
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
	c, ok := m.rows[req.ID]
	if !ok {
		return Claim{Verdict: VerdictNotFound}, nil
	}
	d := decideClaim(tidy(c), req, m.Clock())
	if d.lost != nil {
		m.Ledger = append(m.Ledger, *d.lost)
	}
	d.claim.Connection = m.write(req.ID, d.set)
	return d.claim, nil
}

// FastClaim is [Store.FastClaim].
func (m *Memory) FastClaim(ctx context.Context, app string, req ClaimRequest) (Claim, bool, error) {
	c, now, err := m.Get(ctx, perennial.WorkerAccess(), req.ID)
	if err != nil || c.App != app || c.Generation != req.Generation || !claimableAtOnce(c, now) || req.Trigger.ByCaller() && !c.ForcedAt.IsZero() || !m.gateOpen(c, now) {
		return Claim{}, false, nil
	}
	claim, err := m.Claim(ctx, req)
	return claim, claim.Verdict == VerdictClaimed, err
}

func (m *Memory) gateOpen(c perennial.Connection, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return gateOpen(c, m.circuits[c.App+" "+c.Host], m.apps[c.App], false, now)
}

// FastAdmit is [Store.FastAdmit]: it never applies.
func (m *Memory) FastAdmit(context.Context, FastAdmitRequest) (Admission, bool, error) {
	return Admission{}, false, nil
}

// MarkSending is [Store.MarkSending].
func (m *Memory) MarkSending(_ context.Context, id, attemptID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.rows[id]
	if c.Open.ID != attemptID || !c.Open.Deadline.After(m.Clock()) {
		return perennial.Errorf(perennial.CodeConflict, "attempt %s no longer holds connection %s", attemptID, id)
	}
	m.write(id, columns{"attempt_sent": true})
	return nil
}

// Save is [Store.Save].
func (m *Memory) Save(_ context.Context, req SaveRequest) (SaveResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.rows[req.ID]
	if !ok {
		return SaveResult{}, notFound(req.ID)
	}
	if err := perennial.CheckGeneration(req.ID, req.Generation, req.NewGeneration); err != nil {
		return SaveResult{}, err
	}
	if c.Generation == req.NewGeneration && c.RefreshTokenDigest == req.RefreshTokenDigest && bytes.Equal(c.AccessTokenSealed, req.AccessTokenSealed) {
		return SaveResult{Stored: true, Connection: c}, nil
	}
	taken := takes(c, req)
	if taken {
		if err := checkNext(c, req.NewGeneration); err != nil {
			return SaveResult{}, err
		}
	}
	m.Ledger = append(m.Ledger, ledgerLine(req.Ledger, req.ID, req.AttemptID))
	if !taken {
		return SaveResult{Connection: c}, nil
	}
	return SaveResult{Stored: true, Recovered: c.Status == perennial.StatusReconnectRequired, Connection: m.write(req.ID, saveColumns(c, req, m.Clock()))}, nil
}

// Attempt is [Store.Attempt].
func (m *Memory) Attempt(_ context.Context, connectionID, id string) (perennial.Attempt, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.Ledger {
		if a.ID == id && a.ConnectionID == connectionID {
			return a, true, nil
		}
	}
	return perennial.Attempt{}, false, nil
}

// MarkSetAside is [Store.MarkSetAside].
func (m *Memory) MarkSetAside(_ context.Context, req SetAsideRequest) (perennial.Connection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.rows[req.ID]
	if !ok {
		return c, notFound(req.ID)
	}
	return m.write(req.ID, setAsideColumns(tidy(c), req, m.Clock())), nil
}

// CloseAttempt is [Store.CloseAttempt].
func (m *Memory) CloseAttempt(_ context.Context, req CloseRequest) (perennial.Connection, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.rows[req.ID]
	m.Ledger = append(m.Ledger, ledgerLine(req.Ledger, req.ID, req.AttemptID))
	if c.Open.ID != req.AttemptID || c.Generation != req.Generation || c.RefreshTokenDigest != req.Digest {
		return c, false, nil
	}
	held := ""
	if req.Terminal != "" && m.apps[c.App].RefusalHold {
		held = CodeRefusalHold
	}
	return m.write(req.ID, closeColumns(c, req, m.Clock(), held)), true, nil
}

// ReturnProbe is [Store.ReturnProbe]: a model of one connection has no circuit.
func (m *Memory) ReturnProbe(context.Context, ReturnProbeRequest) error { return nil }

// KeepSpare is [Store.KeepSpare]: the model's provider answers once.
func (m *Memory) KeepSpare(context.Context, SaveRequest) (bool, error) { return false, nil }

// Spare is [Store.Spare].
func (m *Memory) Spare(context.Context, string) (Spare, bool, error) { return Spare{}, false, nil }

// GrantReplaced is [Store.GrantReplaced].
func (m *Memory) GrantReplaced(context.Context, perennial.Connection) (bool, error) {
	return false, nil
}

// AccountInUse is [Store.AccountInUse].
func (m *Memory) AccountInUse(_ context.Context, app, account string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.rows {
		if c.App == app && c.AccountID == account && (c.Status == perennial.StatusActive || c.Status == perennial.StatusPaused) {
			return true, nil
		}
	}
	return false, nil
}

// ClientSecret is [Store.ClientSecret]: a model of one connection learns nothing.
func (m *Memory) ClientSecret(context.Context, string) (ClientSecret, error) {
	return ClientSecret{}, nil
}

// BeginSecretTrial is [Store.BeginSecretTrial].
func (m *Memory) BeginSecretTrial(context.Context, SecretTrialRequest) (SecretTrial, error) {
	return SecretTrial{Granted: true}, nil
}

// EndSecretTrial is [Store.EndSecretTrial].
func (m *Memory) EndSecretTrial(context.Context, perennial.Connection, string) error { return nil }
