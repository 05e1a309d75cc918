package store

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// When do the failures of connections become the trouble of their app?
//
// A failure is evidence if its connection was well just before: its tokens are proven,
// and its last attempt brought new ones. A connection that never worked, or that has
// failed for long, says nothing about its app. The evidence opens the circuit when all
// of these hold:
//
//   - enough connections failed in the same way within [evidenceWindow] ([openAfter]);
//   - none of the app was refreshed at this host since the first of them began to fail;
//   - if they are refusals without a reason, they are at least one in five, counted with
//     the refreshes of proven connections within the window;
//   - they belong to more than one of the tenants that these have, or to a tenant with
//     more than half of them.
//
// Only the failing side pays: a success writes nothing here.

// evidenceWindow is how old a failure may be to count.
const evidenceWindow = time.Minute

// openAfter is how many distinct connections must fail for the same reason, with no
// success between, to open a circuit. A provider that rejects the client rejects it for
// all connections; a lost reply, or a refusal without a reason, may be bad luck of one.
var openAfter = map[string]int{reasonMisconfigured: 2, reasonUnavailable: 5, reasonRejected: 5}

// codeUnauthorizedClient also means that one directory of the provider's customers has
// not admitted the client (RFC 6749 section 5.2; Microsoft answers AADSTS700016 with it).
// Three connections must agree that it is about the app.
const (
	codeUnauthorizedClient  = "unauthorized_client"
	unauthorizedClientAfter = 3
)

// inARow is how many failures in a row of one connection count as an outage, in an app
// with few connections.
const inARow = 3

// shareOfAttempts: refusals without a reason must be at least one in this many. For a
// rejected client and for silence it is enough that nobody succeeds any more.
const shareOfAttempts = 5

// failureRow is a row of the table failures: the last failure of a connection that
// may be its app's.
type failureRow struct {
	App          string     `gorm:"column:app;primaryKey"`
	Host         string     `gorm:"column:host;primaryKey"`
	ConnectionID string     `gorm:"column:connection_id;primaryKey"`
	TenantID     string     `gorm:"column:tenant_id"`
	Kind         string     `gorm:"column:kind"` // one of the reasons why a circuit opens
	Code         string     `gorm:"column:code"`
	WasWell      bool       `gorm:"column:was_well"` // when its failures in a row began
	Since        *time.Time `gorm:"column:since"`    // when they began
	FailedAt     *time.Time `gorm:"column:failed_at"`
}

// TableName implements gorm's Tabler.
func (failureRow) TableName() string { return "failures" }

// wasWell reports whether a connection, as it was before this failure, had worked until
// then.
func wasWell(before perennial.Connection) bool {
	return before.FailureCount == 0 && before.Proven() && !before.Suspect()
}

// recordFailure records a failure and returns its row. A connection that goes on failing
// keeps what its first failure said.
func recordFailure(tx *gorm.DB, req NoteRequest, kind string, now time.Time) (failureRow, error) {
	c, at := req.Connection, now.UTC().Truncate(time.Microsecond)
	var rows []failureRow
	err := tx.Where("app = ? AND host = ? AND connection_id = ?", c.App, c.Host, c.ID).Limit(1).Find(&rows).Error
	if err != nil {
		return failureRow{}, fmt.Errorf("read the failure of connection %s: %w", c.ID, err)
	}
	r := failureOf(req, kind, at)
	if c.FailureCount > 0 {
		r.WasWell = false // unless its first failure says otherwise
		if len(rows) > 0 {
			r.WasWell, r.Since = rows[0].WasWell, rows[0].Since
		}
	}
	if err := tx.Save(&r).Error; err != nil {
		return failureRow{}, fmt.Errorf("record the failure of connection %s: %w", c.ID, err)
	}
	return r, nil
}

// failureOf returns a connection's first failure.
func failureOf(req NoteRequest, kind string, at time.Time) failureRow {
	c := req.Connection
	return failureRow{App: c.App, Host: c.Host, ConnectionID: c.ID, TenantID: c.TenantID, Kind: kind, Code: req.Code, WasWell: wasWell(c), Since: &at, FailedAt: &at}
}

// evidence has the failures that make trouble the app's own at one host.
type evidence struct {
	failed       []failureRow // the newest first
	enough       int          // how many must have failed
	unprovenOnly bool         // the app has no proven connection: its unproven ones speak for themselves
}

// collect reads the failures of one kind within the window.
func (s *Store) collect(tx *gorm.DB, r failureRow, now time.Time) (e evidence, err error) {
	at := circuitAt(r.App, r.Host)
	proven, err := countUpTo(tx, at, 1, "unproven_since IS NULL")
	if err != nil {
		return e, err
	}
	e.unprovenOnly = proven == 0
	if !e.unprovenOnly && !r.WasWell {
		return e, nil // its failure says nothing about others
	}
	q := tx.Where("app = ? AND host = ? AND kind = ? AND failed_at > ?", r.App, r.Host, r.Kind, db.Nullable(now.Add(-evidenceWindow)))
	if !e.unprovenOnly {
		q = q.Where("was_well")
	}
	if err := q.Order("since DESC").Limit(maxEvidence).Find(&e.failed).Error; err != nil {
		return e, fmt.Errorf("read the failures of app %s: %w", r.App, err)
	}
	e.enough = openAfter[r.Kind]
	if r.Code == codeUnauthorizedClient {
		e.enough = unauthorizedClientAfter
	}
	able, err := s.couldSpeak(tx, at, e)
	e.enough = min(e.enough, max(able, 1))
	return e, err
}

// since returns when the last ones began to fail that are enough.
func (e evidence) since(circuit circuitRow) time.Time {
	began := make([]time.Time, len(e.failed))
	for i, f := range e.failed {
		began[i] = f.began(circuit)
	}
	slices.SortFunc(began, func(a, b time.Time) int { return b.Compare(a) })
	return began[e.enough-1]
}

// began returns when the connection began to fail in this way. One that failed in the
// outage which a release is ending, and now fails in another way, has begun anew: the
// success that began the release disproves its earlier failures only.
func (r failureRow) began(circuit circuitRow) time.Time {
	since, outage, over := db.Time(r.Since), db.Time(circuit.OpenedAt).Add(-evidenceWindow), db.Time(circuit.ReleasingAt)
	if circuit.releasing() && r.Kind != circuit.Reason && !since.Before(outage) && since.Before(over) {
		return db.Time(r.FailedAt)
	}
	return since
}

// maxEvidence bounds the failures that one decision reads.
const maxEvidence = 1000

// couldSpeak counts the connections whose failure is, or would be, evidence, up to the
// number that is enough anyway.
func (s *Store) couldSpeak(tx *gorm.DB, r circuitRow, e evidence) (int, error) {
	if e.unprovenOnly {
		return countUpTo(tx, r, e.enough, "1 = 1")
	}
	return countUpTo(tx, r, e.enough, `unproven_since IS NULL AND (failure_count = 0 OR EXISTS (SELECT 1 FROM failures AS f
		WHERE f.app = connections.app AND f.host = connections.host AND f.connection_id = connections.id AND f.was_well))`)
}

// tenants returns how many of the failures each tenant has.
func (e evidence) tenants() map[string]int {
	of := map[string]int{}
	for _, f := range e.failed {
		of[f.TenantID]++
	}
	return of
}

// names returns the tenants of the failures, at most maxNamed.
func (e evidence) names() []string {
	names := slices.Sorted(maps.Keys(e.tenants()))
	return names[:min(len(names), maxNamed)]
}

// maxNamed bounds the tenants that an event names.
const maxNamed = 20

// suffices reports whether the evidence is the app's: a large enough share where that
// counts, and of more than one tenant unless one has most. It is pure. refreshed has the refreshes of each
// tenant within the window.
func (e evidence) suffices(refreshed map[string]int) bool {
	of := e.tenants()
	attempts := maps.Clone(of)
	total := len(e.failed)
	for tenant, n := range refreshed {
		attempts[tenant] += n
		total += n
	}
	if e.failed[0].Kind == reasonRejected && len(e.failed)*shareOfAttempts < total {
		return false
	}
	if len(attempts) == 1 || len(of) > 1 {
		return true
	}
	for tenant := range of {
		return 2*attempts[tenant] > total
	}
	return false
}

// refreshesOf counts the refreshes of an app's proven connections at a host within the
// window, by tenant.
func (s *Store) refreshesOf(tx *gorm.DB, r failureRow, now time.Time) (map[string]int, error) {
	var rows []struct {
		TenantID string
		N        int
	}
	err := tx.Raw(`SELECT c.tenant_id, count(*) AS n FROM attempts AS a JOIN connections AS c ON c.id = a.connection_id
		WHERE a.started_at > ? AND c.app = ? AND c.host = ? AND c.unproven_since IS NULL AND a.outcome = ? GROUP BY c.tenant_id`,
		db.Nullable(now.Add(-evidenceWindow)), r.App, r.Host, string(perennial.OutcomeRefreshed)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("count the refreshes of app %s: %w", r.App, err)
	}
	out := make(map[string]int, len(rows))
	for _, row := range rows {
		out[row.TenantID] = row.N
	}
	return out, nil
}

// isApps reports whether the failure, together with those before it, is the app's
// trouble.
func (s *Store) isApps(tx *gorm.DB, circuit circuitRow, req NoteRequest, r failureRow, now time.Time) (is bool, e evidence, err error) {
	if e, err = s.collect(tx, r, now); err != nil {
		return false, e, err
	}
	// In a small app a few connections must suffice; one lost reply must not.
	blip := r.Kind != reasonMisconfigured && len(e.failed) < openAfter[r.Kind] && req.Connection.FailureCount+1 < inARow
	if len(e.failed) == 0 || len(e.failed) < e.enough || blip {
		return false, e, nil
	}
	since := e.since(circuit)
	if s.successes.last(r.App, r.Host).After(since) {
		return false, e, nil // without a question to the database
	}
	refreshed, err := s.refreshesOf(tx, r, now)
	if err != nil || !e.suffices(refreshed) {
		return false, e, err
	}
	success, err := s.succeededSince(tx, circuit, since)
	return !success, e, err
}

// countUpTo counts a circuit's active connections that match, up to limit.
func countUpTo(tx *gorm.DB, r circuitRow, limit int, which string) (int, error) {
	var ids []string
	err := tx.Table("connections").Where("app = ? AND host = ? AND status = 'active' AND ("+which+")", r.App, r.Host).Limit(limit).Pluck("id", &ids).Error
	if err != nil {
		return 0, fmt.Errorf("count the connections of app %s: %w", r.App, err)
	}
	return len(ids), nil
}

// Evidence sums up what speaks against an app at one host: the failures of one tenant
// with one code within the last ten minutes.
type Evidence struct {
	Host        string    `json:"host"`
	TenantID    string    `json:"tenant_id"`
	Kind        string    `json:"kind"`
	Code        string    `json:"code"`
	Connections int       `json:"connections"`
	Counted     int       `json:"counted"` // of them, those that were well before
	Since       time.Time `json:"since"`   // when the first of them began to fail
	FailedAt    time.Time `json:"failed_at"`
}

// evidence returns a failure as evidence about its app, before it is counted.
func (r failureRow) evidence() *Evidence {
	return &Evidence{Host: r.Host, TenantID: r.TenantID, Kind: r.Kind, Code: r.Code, Since: db.Time(r.Since), FailedAt: db.Time(r.FailedAt)}
}

// evidenceShown is how old the failures are that [AppState] shows, and maxShown how many
// lines it has.
const (
	evidenceShown = 10 * time.Minute
	maxShown      = 50
)

// evidenceOf reads the evidence about an app, the most connections first.
func (s *Store) evidenceOf(q *gorm.DB, app string, now time.Time) ([]Evidence, error) {
	var rows []failureRow
	err := q.Where("app = ? AND failed_at > ?", app, db.Nullable(now.Add(-evidenceShown))).Order("failed_at DESC").Limit(maxEvidence).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the failures of app %s: %w", app, err)
	}
	type group struct{ host, tenant, kind, code string }
	sums := map[group]*Evidence{}
	var out []*Evidence
	for _, r := range rows {
		key := group{r.Host, r.TenantID, r.Kind, r.Code}
		e := sums[key]
		if e == nil {
			e = r.evidence()
			sums[key] = e
			out = append(out, e)
		}
		e.Connections++
		if r.WasWell {
			e.Counted++
		}
		e.Since = earliest(e.Since, db.Time(r.Since))
	}
	slices.SortStableFunc(out, func(a, b *Evidence) int { return b.Connections - a.Connections })
	shown := make([]Evidence, 0, min(len(out), maxShown))
	for _, e := range out[:min(len(out), maxShown)] {
		shown = append(shown, *e)
	}
	return shown, nil
}
