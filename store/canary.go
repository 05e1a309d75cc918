package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// An open circuit promises a time for its next probe. Connections that ask at the gate
// anyway are canaries, but in a small app there may be none: each waits for its own
// backoff, up to a quarter of an hour. So the next canary is called: [Store.CallCanaries]
// chooses it shortly before the probe, ends its wait if that is our own, and writes its
// name into the circuit. The gate then keeps the probe for it for a moment. Nothing
// depends on it: if it does not come, the next connection that asks is the canary, and another is called.

const (
	// canaryComes is for how long after a call the probe is kept for the called canary.
	canaryComes = 5 * time.Second
	// canaryMissing is when another is called in its place.
	canaryMissing = 10 * time.Second
	// canariesRead bounds the rows that one choice reads of each kind.
	canariesRead = 200
	// Every other probe goes to the connection whose last failure is the oldest, without
	// any other rank: those that were well before may be the trouble themselves.
	// With more than [fewCanaries] it is one in ten, because a probe whose reply is lost
	// puts a token in doubt.
	othersTurn, othersTurnOfMany = 2, 10
	fewCanaries                  = 10
)

// CanaryRequest calls the next canaries of an app.
type CanaryRequest struct {
	App   string
	Class perennial.ReplayClass // of the app's provider
	// Ahead is how long before its time a probe's canary is called.
	Ahead time.Duration
	// Operator: an operator wants the probe now, with any connection that may be
	// presented, also if its token is not due.
	Operator bool
}

// ProbesDue returns the names, in order, of the apps with an open circuit whose next
// probe is due within ahead, and that has called nobody for it yet.
func (s *Store) ProbesDue(ctx context.Context, ahead time.Duration) (apps []string, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	err = s.db.With(ctx).Raw("SELECT DISTINCT app FROM circuits WHERE "+probing+" AND next_probe_at <= ? AND (called_at IS NULL OR called_at <= ?) ORDER BY app",
		db.Nullable(now.Add(ahead)), db.Nullable(now.Add(-canaryMissing))).Scan(&apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps that are to be probed: %w", err)
	}
	return apps, nil
}

// probing matches the circuits that are open and not releasing, of apps that go.
const probing = `reason <> '' AND NOT ` + releasing + notStopped

// CallCanaries calls the next canary of each open circuit of an app whose probe is due,
// and returns them. Signal their workflows afterwards. Any process may call it, also
// several at once.
func (s *Store) CallCanaries(ctx context.Context, req CanaryRequest) (cs []perennial.Connection, err error) {
	var hosts []string
	if err := s.db.With(ctx).Model(&circuitRow{}).Where("app = ? AND "+probing, req.App).Order("host").Pluck("host", &hosts).Error; err != nil {
		return nil, fmt.Errorf("read the circuits of app %s: %w", req.App, err)
	}
	for _, host := range hosts {
		c, err := s.callCanary(ctx, req, host)
		if err != nil {
			return cs, fmt.Errorf("call a canary of app %s at %s: %w", req.App, host, err)
		}
		if c.ID != "" {
			cs = append(cs, c)
		}
	}
	return cs, nil
}

// callCanary calls the next canary at one host. It returns none if none is needed, or
// if none may go.
func (s *Store) callCanary(ctx context.Context, req CanaryRequest, host string) (called perennial.Connection, err error) {
	err = s.db.Durably(ctx, "call a canary of app "+req.App, func(tx *gorm.DB) error {
		circuit, app, now, err := s.lockGate(tx, req.App, host)
		if err != nil || circuit.Reason == "" || circuit.releasing() || app.StoppedAt != nil {
			return err
		}
		at := latest(db.Time(circuit.NextProbeAt), now)
		switch {
		case req.Operator:
			at = now
		case at.After(now.Add(req.Ahead)), db.Time(circuit.CalledAt).Add(canaryMissing).After(now):
			return nil
		}
		all, err := s.canaries(tx, circuit, req, at)
		if err != nil {
			return err
		}
		if called, err = s.takeCanary(tx, circuit, all, at, now); err != nil {
			return err
		}
		set := columns{}
		if called.ID != "" {
			set.with(columns{"called_canary": called.ID, "called_at": db.Nullable(now)})
		}
		if req.Operator {
			set["next_probe_at"] = db.Nullable(now)
		}
		return updateCircuit(tx, circuit, now, set)
	})
	return called, err
}

// takeCanary makes the first of the candidates due that no other transaction has locked,
// and returns it. The transaction has locked the circuit; see [Store.giveTurns].
func (s *Store) takeCanary(tx *gorm.DB, circuit circuitRow, all []perennial.Connection, at, now time.Time) (perennial.Connection, error) {
	for _, c := range all {
		if c.ID == circuit.CalledCanary && len(all) > 1 {
			continue // it was called and did not come
		}
		q := tx.Where("id = ? AND generation = ? AND attempt_id = ''", c.ID, c.Generation)
		if s.db.Dialect == schema.Postgres {
			q = q.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"})
		}
		rows, err := readConnections(q.Limit(1))
		if err != nil {
			return perennial.Connection{}, err
		}
		if len(rows) == 0 || rows[0].NotBefore(at).After(at) {
			continue
		}
		if err := update(tx, c.ID, now, columns{}.ownWait(at)); err != nil {
			return perennial.Connection{}, err
		}
		return reread(tx, c.ID)
	}
	return perennial.Connection{}, nil
}

// canaries returns the connections that may make the next probe of a circuit, at the
// given time: the best first.
func (s *Store) canaries(tx *gorm.DB, circuit circuitRow, req CanaryRequest, at time.Time) ([]perennial.Connection, error) {
	var failed []failureRow
	err := tx.Where("app = ? AND host = ?", circuit.App, circuit.Host).Order("failed_at DESC").Limit(canariesRead).Find(&failed).Error
	if err != nil {
		return nil, fmt.Errorf("read the failures of app %s: %w", circuit.App, err)
	}
	ids, failures := make([]string, len(failed)), map[string]failureRow{}
	for i, f := range failed {
		ids[i], failures[f.ConnectionID] = f.ConnectionID, f
	}
	rows, err := readConnections(tx.Where("id IN ? AND status = 'active'", ids))
	if err != nil {
		return nil, err
	}
	// Of a small app these are all, of a large one any.
	more, err := readConnections(tx.Where("app = ? AND host = ? AND status = 'active'", circuit.App, circuit.Host).Limit(canariesRead))
	if err != nil {
		return nil, err
	}
	return rankCanaries(append(rows, more...), failures, circuit, req, at), nil
}

// rankCanaries returns those of the connections that may make a probe, the best first. It
// is pure. failures has their last ones that were noted. at is the time of the probe.
func rankCanaries(rows []perennial.Connection, failures map[string]failureRow, circuit circuitRow, req CanaryRequest, at time.Time) (out []perennial.Connection) {
	seen := map[string]bool{}
	for _, c := range rows {
		if !seen[c.ID] && mayProbe(c, req, at) {
			out = append(out, c)
		}
		seen[c.ID] = true
	}
	every := othersTurn
	if len(out) > fewCanaries {
		every = othersTurnOfMany
	}
	turn := circuit.Probes%every == every-1
	rank := func(c perennial.Connection) int { return circuit.rank(c, failures[c.ID].WasWell) }
	tried := func(c perennial.Connection) time.Time {
		if c.ID == circuit.LastCanary {
			return at // also if its attempt was no failure that is noted
		}
		return db.Time(failures[c.ID].FailedAt)
	}
	slices.SortStableFunc(out, func(a, b perennial.Connection) int {
		longest := tried(a).Compare(tried(b))
		if turn && longest != 0 {
			return longest
		}
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			first(a.Ambiguous(), b.Ambiguous()), // a lost reply would cost nothing more
			longest,
			first(needsRefresh(a, at), needsRefresh(b, at)),
			a.NextRefreshAt.Compare(b.NextRefreshAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// mayProbe reports whether the connection may be presented at the given time: nothing but
// a wait of our own prevents it, and its token is due. Only on an operator's word a token
// is spent that is not.
func mayProbe(c perennial.Connection, req CanaryRequest, at time.Time) bool {
	if c.OwnWait() {
		c.NextAttemptAt = time.Time{}
	}
	return c.Open.IsZero() && Claimable(c, canaryClaim(c, req.Class), at) && (req.Operator || needsRefresh(c, at))
}

// canaryClaim returns the claim that a canary will make. It is only judged, never made.
func canaryClaim(c perennial.Connection, class perennial.ReplayClass) ClaimRequest {
	return ClaimRequest{ID: c.ID, Generation: c.Generation, AttemptID: "canary", Lease: time.Second, Class: class, Trigger: perennial.TriggerRetry}
}

// needsRefresh reports whether the connection's workflow refreshes it as soon as its
// waits allow.
func needsRefresh(c perennial.Connection, at time.Time) bool {
	return c.FailureCount > 0 || c.Ambiguous() || c.Suspect() || !c.NextRefreshAt.After(at)
}

// rank sorts a circuit's candidates: a probe is worth most if its connection was well
// before the trouble, and nothing if it never worked.
func (r circuitRow) rank(c perennial.Connection, wasWell bool) int {
	switch {
	case !r.UnprovenOnly && !c.Proven():
		return 2
	case c.Suspect() || c.FailureCount > 0 && !wasWell && !r.UnprovenOnly:
		return 1
	}
	return 0
}

// first compares two conditions: one that holds comes first.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// ReturnProbeRequest gives a probe back.
type ReturnProbeRequest struct {
	Connection perennial.Connection // that was admitted as the canary
	Class      perennial.ReplayClass
	Interval   time.Duration // between two probes
}

// next asks for another canary than the one that presented nothing.
func (r ReturnProbeRequest) next() CanaryRequest {
	return CanaryRequest{App: r.Connection.App, Class: r.Class}
}

// returnedAfter is the part of an interval after which a probe that was given back is
// due again. The same obstacle may stop the next one too.
const returnedAfter = 10

// ReturnProbe gives back a probe whose canary was admitted and then presented nothing. If
// another connection may go, it is due again soon; else at the time that it has.
func (s *Store) ReturnProbe(ctx context.Context, req ReturnProbeRequest) error {
	c := req.Connection
	return s.db.Durably(ctx, "give back a probe of app "+c.App, func(tx *gorm.DB) error {
		circuit, _, now, err := s.lockGate(tx, c.App, c.Host)
		if err != nil || circuit.Reason == "" || circuit.releasing() || circuit.LastCanary != c.ID || circuit.Probes == 0 {
			return err
		}
		at := now.Add(req.Interval / returnedAfter)
		if !at.Before(db.Time(circuit.NextProbeAt)) {
			return nil
		}
		all, err := s.canaries(tx, circuit, req.next(), at)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(other perennial.Connection) bool { return other.ID != c.ID }) {
			return nil
		}
		return updateCircuit(tx, circuit, now, columns{"next_probe_at": db.Nullable(at), "probes": circuit.Probes - 1})
	})
}
