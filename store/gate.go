package store

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// The gate comes before the fence: it decides for a whole app, the fence for one
// connection. It consists of the app's circuit, its limit of requests a second and its
// slow-down. All are in the database, so that they hold for the whole fleet.

// AdmitRequest asks whether the app's circuit and limits allow a refresh of the
// connection now.
type AdmitRequest struct {
	Connection perennial.Connection // as just read
	Rate       float64              // the app's limit of requests a second; 0: none
	Interval   time.Duration        // between two probes of an open circuit
	Patience   time.Duration        // how far ahead a rate slot may lie if the caller is to wait for it
	Lead       time.Duration        // how far ahead a rate slot must lie: the duration of a claim
	// SlotOnly asks for the rate slot of one more request of a presentation that was
	// admitted: circuit and slow-down are not asked again.
	SlotOnly bool

	released bool // the release of its circuit has given the connection its turn
}

// DefaultReleaseRate is the minimum number of waiting connections that a release wakes
// in a second.
const DefaultReleaseRate = 100.0

// Admission is the gate's decision.
type Admission struct {
	Now      time.Time // the database's clock
	Admitted bool
	Probe    bool      // as the canary of an open circuit
	SlotAt   time.Time // if admitted: send nothing before it; zero: no limit
	RetryAt  time.Time // if not admitted: as written into the row
	Code     string    // if not admitted: one of the Code constants
	// NoteEveryReply: the circuit is open, so the caller must pass every reply to
	// [Store.NoteReply], not only failures.
	NoteEveryReply bool
	Connection     perennial.Connection // if not admitted: the row as it now is
}

// The reasons why the gate does not admit a connection.
const (
	CodeCircuitOpen = "circuit_open" // waits for the app's circuit to close
	CodeSlowDown    = "slow_down"    // the provider asked the app for fewer requests
	CodeRateLimit   = "rate_limit"   // waits for a rate slot under max_refreshes_per_second
)

// circuitRow is the circuit of one app at one host.
type circuitRow struct {
	App          string     `gorm:"column:app;primaryKey"`
	Host         string     `gorm:"column:host;primaryKey"`
	Reason       string     `gorm:"column:reason"` // empty: closed
	Code         string     `gorm:"column:code"`
	OpenedAt     *time.Time `gorm:"column:opened_at"`
	NextProbeAt  *time.Time `gorm:"column:next_probe_at"`
	Probes       int        `gorm:"column:probes"`
	LastCanary   string     `gorm:"column:last_canary"`
	CalledCanary string     `gorm:"column:called_canary"` // to make the next probe; see [Store.CallCanaries]
	CalledAt     *time.Time `gorm:"column:called_at"`
	Connections  int64      `gorm:"column:connections"`
	UnprovenOnly bool       `gorm:"column:unproven_only"` // only unproven connections wait
	SlowUntil    *time.Time `gorm:"column:slow_until"`
	ReleasingAt  *time.Time `gorm:"column:releasing_at"` // when the last release began; see releasing
	Progress     string     `gorm:"column:progress"`     // a [releaseProgress]
	RecoveredAt  *time.Time `gorm:"column:recovered_at"` // when a recovery last let others through; see [Store.letThrough]
	UpdatedAt    *time.Time `gorm:"column:updated_at;autoUpdateTime:false"`
}

// TableName implements gorm's Tabler.
func (circuitRow) TableName() string { return "circuits" }

// bars reports whether the circuit keeps the connection waiting.
func (r circuitRow) bars(c perennial.Connection) bool {
	return r.Reason != "" && (!r.UnprovenOnly || !c.Proven())
}

// appRow is a row of the table apps.
type appRow struct {
	App            string     `gorm:"column:app;primaryKey"`
	SlotAt         *time.Time `gorm:"column:slot_at"`
	BacklogAt      *time.Time `gorm:"column:backlog_at"`
	UnprovenSlotAt *time.Time `gorm:"column:unproven_slot_at"` // the next of those that unproven connections may have; see [RateSlots.ReserveUnproven]
	SlowUntil      *time.Time `gorm:"column:slow_until"`
	ReleaseUntil   *time.Time `gorm:"column:release_until"`
	RefusalHold    bool       `gorm:"column:hold_terminal"`
	HoldReason     string     `gorm:"column:hold_reason"`
	HoldSince      *time.Time `gorm:"column:hold_since"` // it keeps back refusals since then; null: all
	HoldRaisedAt   *time.Time `gorm:"column:held_at"`
	MutedUntil     *time.Time `gorm:"column:muted_until"`
	StoppedAt      *time.Time `gorm:"column:stopped_at"` // since when an operator has stopped it
	OperatorDid    string     `gorm:"column:operator_did"`
	OperatorAt     *time.Time `gorm:"column:operator_at"`
	UpdatedAt      *time.Time `gorm:"column:updated_at;autoUpdateTime:false"`
}

// TableName implements gorm's Tabler.
func (appRow) TableName() string { return "apps" }

// slots returns where the app's rate slots are.
func (r appRow) slots() RateSlots {
	return RateSlots{SlotAt: db.Time(r.SlotAt), BacklogAt: db.Time(r.BacklogAt), UnprovenSlotAt: db.Time(r.UnprovenSlotAt)}
}

// Admit asks the gate. If nothing concerns the app, that is one read. Otherwise one
// short transaction reserves a rate slot, makes the connection the circuit's canary, or
// writes into its row how long it must wait.
func (s *Store) Admit(ctx context.Context, req AdmitRequest) (Admission, error) {
	c := req.Connection
	open, now, err := s.wideOpen(ctx, c, req.Rate)
	if err != nil {
		return Admission{}, fmt.Errorf("ask the gate of app %s: %w", c.App, err)
	}
	if open {
		return Admission{Now: now, Admitted: true}, nil
	}
	var out Admission
	err = s.db.Durably(ctx, "ask the gate of app "+c.App, func(tx *gorm.DB) error {
		circuit, app, now, err := s.lockGate(tx, c.App, c.Host)
		if err != nil {
			return err
		}
		candidates, err := s.candidates(tx, circuit, req)
		if err != nil {
			return err
		}
		if req.released, err = hasTurn(tx, circuit, c.ID); err != nil {
			return err
		}
		d := decideAdmission(circuit, app, candidates, req, now)
		out = d.admission
		return errorsOf(updateCircuit(tx, circuit, now, d.circuit), updateApp(tx, app.App, now, d.app))
	})
	if err != nil || out.Admitted {
		return out, err
	}
	// A transaction of its own: none locks a connection while it holds a gate's locks,
	// because a transaction with a locked connection may lock its app.
	out.Connection, err = s.park(ctx, c.ID, c.Generation, out)
	return out, err
}

// wideOpen reports that no open circuit, slow-down or limit concerns the connection:
// [gateOpen] for a row that was read.
func (s *Store) wideOpen(ctx context.Context, c perennial.Connection, rate float64) (bool, time.Time, error) {
	q := s.db.With(ctx)
	now, err := s.db.Clock(q)
	if err != nil || rate > 0 {
		return false, now, err
	}
	var concerned int64
	err = q.Raw(`SELECT (SELECT count(*) FROM circuits WHERE app = ? AND host = ? AND (reason <> '' AND (NOT unproven_only OR ?) OR slow_until > ?))
		+ (SELECT count(*) FROM apps WHERE app = ? AND (slow_until > ? OR stopped_at IS NOT NULL))`,
		c.App, c.Host, !c.Proven(), db.Nullable(now), c.App, db.Nullable(now)).Scan(&concerned).Error
	return concerned == 0, now, err
}

// lockGate locks the circuit and the app, always in this order. It creates their rows
// if missing.
func (s *Store) lockGate(tx *gorm.DB, appName, host string) (circuit circuitRow, app appRow, now time.Time, err error) {
	if now, err = s.db.Clock(tx); err != nil {
		return
	}
	stampNow := now.Truncate(time.Microsecond)
	nothing := tx.Clauses(clause.OnConflict{DoNothing: true})
	if err = nothing.Create(&circuitRow{App: appName, Host: host, UpdatedAt: &stampNow}).Error; err != nil {
		return
	}
	if err = s.locking(tx).Where("app = ? AND host = ?", appName, host).Take(&circuit).Error; err != nil {
		return
	}
	app, now, err = s.lockApp(tx, appName, now)
	return
}

// lockApp locks the app's row and creates it if missing. The time it returns was read
// after that.
func (s *Store) lockApp(tx *gorm.DB, appName string, now time.Time) (app appRow, after time.Time, err error) {
	stampNow := now.Truncate(time.Microsecond)
	if err = tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&appRow{App: appName, UpdatedAt: &stampNow}).Error; err != nil {
		return
	}
	if err = s.locking(tx).Where("app = ?", appName).Take(&app).Error; err != nil {
		return
	}
	after, err = s.db.Clock(tx)
	return
}

func (s *Store) locking(tx *gorm.DB) *gorm.DB {
	if s.db.Dialect == schema.Postgres {
		return tx.Clauses(clause.Locking{Strength: "UPDATE"})
	}
	return tx // SQLite's BEGIN IMMEDIATE locks already
}

type admissionDecision struct {
	admission    Admission
	circuit, app columns
}

// spacing widens the gap between two rate slots beyond what the limit demands. A
// request may leave up to [SlotTolerance] late and take as long again on its way, and
// no second may see more than one request above the limit.
const spacing = 1.2

// SlotTolerance is how late after its rate slot a request may still leave.
const SlotTolerance = 100 * time.Millisecond

// decideAdmission is the gate. It is pure. circuit and app were read under their locks,
// candidates comes from [Store.candidates], and now is the database's clock.
func decideAdmission(circuit circuitRow, app appRow, candidates int, req AdmitRequest, now time.Time) admissionDecision {
	c := req.Connection
	d := admissionDecision{admission: Admission{Now: now, NoteEveryReply: circuit.bars(c)}, circuit: columns{}, app: columns{}}
	held := func(until time.Time, code string) admissionDecision {
		d.admission.RetryAt, d.admission.Code = until.Truncate(time.Microsecond), code
		return d
	}
	if app.StoppedAt != nil {
		return held(now.Add(stoppedWait+spread(c.ID, now, stoppedWait)), CodeStopped)
	}
	shut := circuit.bars(c) && !req.SlotOnly && !seam.Off(seam.Circuit)
	probe := shut && !circuit.releasing()
	if shut && !probe && !req.released {
		// It joins those that wait for their turn; see [Store.park].
		return held(now.Add(req.Interval+spread(c.ID, now, heldSpread(circuit.Connections, req.Interval))), CodeCircuitOpen)
	}
	if probe {
		if from := probeFrom(circuit, req, now); from.After(now) {
			return held(from.Add(probeSpread(circuit, candidates, req, now)), CodeCircuitOpen)
		}
	}
	if slow := latest(db.Time(circuit.SlowUntil), db.Time(app.SlowUntil)); slow.After(now) && !probe && !req.SlotOnly {
		return held(slow.Add(spread(c.ID, now, req.Interval)), CodeSlowDown)
	}
	if req.Rate > 0 {
		at, admitted, set := reserve(app, req, probe, now)
		d.app.with(set)
		if !admitted {
			return held(at, CodeRateLimit) // leave the probe to the next connection that asks
		}
		d.admission.SlotAt = at
	}
	if probe {
		d.circuit.with(columns{"next_probe_at": db.Nullable(now.Add(ProbeWait(req.Interval, circuit.Probes))), "last_canary": c.ID, "probes": circuit.Probes + 1, "called_canary": "", "called_at": nil})
	}
	d.admission.Admitted, d.admission.Probe = true, probe
	return d
}

// probeFrom returns when the connection may be the next canary of an open circuit. The
// last canary must wait one interval longer than the others, because a probe that fails
// with one token may succeed with another. If no other took the probe by then, the last
// canary may go again: it may be the only connection left, however many there were when
// the circuit opened. A connection that never worked waits as long, because its failure
// would prove nothing. A canary that was called goes first, at the time of the probe.
func probeFrom(circuit circuitRow, req AdmitRequest, now time.Time) time.Time {
	next := db.Time(circuit.NextProbeAt)
	if req.Connection.ID == circuit.CalledCanary {
		return next
	}
	if kept := db.Time(circuit.CalledAt).Add(canaryComes); circuit.CalledCanary != "" && kept.After(next) && kept.After(now) {
		next = kept
	}
	if req.Connection.ID == circuit.LastCanary && circuit.Connections > 1 || !req.Connection.Proven() && !circuit.UnprovenOnly {
		return next.Add(req.Interval)
	}
	return next
}

// minCandidates is how many connections should ask within one interval after a probe is
// due. Some of them may be paused or disconnected by then.
const minCandidates = 10

// probeSpread returns how long after [probeFrom] a connection asks again. While few
// others ask, it is within one interval, so that a due probe never waits longer.
func probeSpread(circuit circuitRow, candidates int, req AdmitRequest, now time.Time) time.Duration {
	c := req.Connection
	switch {
	case c.ID == circuit.LastCanary:
		return 0
	case candidates < minCandidates:
		return spread(c.ID, now, req.Interval)
	}
	return spread(c.ID, now, heldSpread(circuit.Connections, req.Interval))
}

// candidates counts the other connections that will ask within one interval after the
// next probe of an open circuit is due, up to [minCandidates].
func (s *Store) candidates(tx *gorm.DB, r circuitRow, req AdmitRequest) (int, error) {
	if r.Reason == "" || r.releasing() {
		return 0, nil
	}
	next := db.Time(r.NextProbeAt)
	var ids []string
	err := tx.Table("connections").Where(queuedAt, r.App, r.Host).
		Where("status = 'active' AND next_attempt_at >= ? AND next_attempt_at <= ? AND id NOT IN ?", db.Nullable(next), db.Nullable(next.Add(req.Interval)), []string{req.Connection.ID, r.LastCanary}).
		Limit(minCandidates).Pluck("id", &ids).Error
	if err != nil {
		return 0, fmt.Errorf("count the candidates for a probe of app %s: %w", r.App, err)
	}
	return len(ids), nil
}

// releaseWithin is the time in which the connections of a large app are released. A
// slower release could never catch up with the connections that become due meanwhile.
const releaseWithin = 10 * time.Minute

// ReleaseRate returns how many waiting connections of an app are released in a second:
// [DefaultReleaseRate], more for an app with many, but never more than its limit has
// rate slots. A limit of 0 is none.
func ReleaseRate(limit float64, connections int64) float64 {
	rate := max(DefaultReleaseRate, float64(connections)/releaseWithin.Seconds())
	if limit > 0 {
		rate = min(rate, limit/spacing)
	}
	return rate
}

// ProbeWait returns the wait after the given number of probes that found the circuit
// still broken: twenty times the first wait, later twice that, and after a day twenty
// times as long. A waiting connection learns of the end of an outage that much later at
// most. In a long outage, fewer probes put fewer tokens at risk.
func ProbeWait(first time.Duration, probes int) time.Duration {
	switch {
	case probes < 20:
		return first
	case probes < aDayOfProbes:
		return 2 * first
	}
	return 20 * first
}

// aDayOfProbes is about how many probes a circuit makes in its first day, at the default
// interval.
const aDayOfProbes = 1450

// heldSpread returns the time over which the connections of an open circuit ask again:
// about two a second, at least one interval and at most 20 minutes. They are the
// canaries. A circuit that closes wakes them earlier.
func heldSpread(connections int64, interval time.Duration) time.Duration {
	return max(min(time.Duration(connections)*500*time.Millisecond, 20*time.Minute), interval)
}

// spread returns a point within d that differs between connections and over time.
func spread(id string, now time.Time, d time.Duration) time.Duration {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", id, now.UnixMicro())
	sum := h.Sum64()
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	return time.Duration(float64(sum>>11) / (1 << 53) * float64(d))
}

// park writes into the row how long it must wait, unless the row has moved on.
func (s *Store) park(ctx context.Context, id string, generation int64, a Admission) (after perennial.Connection, err error) {
	found, err := s.locked(ctx, perennial.WorkerAccess(), id, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		after = c
		if c.Generation != generation || !c.Open.IsZero() || c.NotBefore(now).After(a.RetryAt) {
			return nil
		}
		if a.Code == CodeCircuitOpen {
			if released, err := s.joinRelease(tx, c, now); err != nil {
				return err
			} else if released {
				return nil // meanwhile its turn came: the row says when
			}
		}
		set := columns{}.ownWait(a.RetryAt)
		if c.QueuedAt.IsZero() {
			set["queued_at"] = db.Nullable(now)
		}
		if c.Status == perennial.StatusActive && !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(a.RetryAt) && c.Health == perennial.HealthHealthy && !c.Dormant(now) {
			set.failing(c, a.Code, now) // its product will be without a token
		}
		after, err = change(tx, c, set, now)
		return err
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return after, err
}

func updateCircuit(tx *gorm.DB, r circuitRow, now time.Time, set columns) error {
	if len(set) == 0 {
		return nil
	}
	set["updated_at"] = db.Nullable(now)
	if err := tx.Table("circuits").Where("app = ? AND host = ?", r.App, r.Host).Updates(map[string]any(set)).Error; err != nil {
		return fmt.Errorf("write the circuit of app %s: %w", r.App, err)
	}
	return nil
}

func updateApp(tx *gorm.DB, name string, now time.Time, set columns) error {
	if len(set) == 0 {
		return nil
	}
	set["updated_at"] = db.Nullable(now)
	if err := tx.Table("apps").Where("app = ?", name).Updates(map[string]any(set)).Error; err != nil {
		return fmt.Errorf("write app %s: %w", name, err)
	}
	return nil
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }
