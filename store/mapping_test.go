package store

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryFieldHasItsColumn: each field of a connection and of a ledger line has a column
// of its name, or those named here, and survives writing and reading.
func TestEveryFieldHasItsColumn(t *testing.T) {
	t.Parallel()
	c := fill.Of[perennial.Connection]()
	ownColumns(t, connections, c, map[string][]string{
		"Open":         {"attempt_deadline", "attempt_digest", "attempt_id", "attempt_sent", "attempt_started_at", "attempt_trigger"},
		"IdleWarning":  {"idle_warned_days", "idle_warned_for"},
		"GrantWarning": {"grant_warned_days", "grant_warned_for"},
	})
	got, err := connections.apply(perennial.Connection{}, columnsFor(connections, c))
	require.NoError(t, err)
	assert.Equal(t, c, got)
	ownColumns(t, table[perennial.OpenAttempt]{columns: partOf(connections, "attempt_", func(o *perennial.OpenAttempt) *perennial.Connection {
		return &perennial.Connection{Open: *o}
	})}, fill.Of[perennial.OpenAttempt](), map[string][]string{"ID": {"attempt_id"}, "Digest": {"attempt_digest"}, "StartedAt": {"attempt_started_at"},
		"Deadline": {"attempt_deadline"}, "Sent": {"attempt_sent"}, "Trigger": {"attempt_trigger"}})

	a := fill.Of[perennial.Attempt]()
	for _, d := range []*time.Duration{&a.RetryAfter, &a.Duration, &a.LifeLeft, &a.Lateness} {
		*d *= time.Duration(time.Millisecond) // the precision of a line
	}
	ownColumns(t, attempts, a, map[string][]string{"Trigger": {"trigger_name"}, "RetryAfter": {"retry_after_ms"}, "Duration": {"duration_ms"},
		"LifeLeft": {"life_left_ms"}, "Lateness": {"lateness_ms"}})
	line, err := attempts.apply(perennial.Attempt{}, columnsFor(attempts, a))
	require.NoError(t, err)
	assert.Equal(t, a, line)
}

// ownColumns checks that each field of full, cleared alone, changes the columns that
// others names for it, or the one of the same name.
func ownColumns[T any](t *testing.T, of table[T], full T, others map[string][]string) {
	t.Helper()
	for _, field := range fill.Names[T]() {
		want, ok := others[field]
		if !ok {
			want = []string{strings.ToLower(words.ReplaceAllString(short.Replace(field), "${1}_$2"))}
		}
		one := full
		fill.Clear(&one, field)
		assert.ElementsMatch(t, want, changed(columnsFor(of, one), columnsFor(of, full)), field)
	}
}

// words matches where a word of a Go name ends and the next begins, after short.
var (
	words = regexp.MustCompile("([a-z])([A-Z])")
	short = strings.NewReplacer("ID", "Id", "HTTP", "Http")
)

// columnsFor returns the value of each column of v.
func columnsFor[T any](of table[T], v T) columns {
	set := columns{}
	for i, value := range of.values(v) {
		set[of.columns[i].name] = value
	}
	return set
}

// partOf returns the columns of a table whose names begin with prefix, for a part of its
// rows.
func partOf[P, T any](of table[T], prefix string, whole func(*P) *T) (part []column[P]) {
	for _, c := range of.columns {
		if strings.HasPrefix(c.name, prefix) {
			part = append(part, column[P]{name: c.name, value: func(p *P) any { return c.value(whole(p)) }})
		}
	}
	return part
}

// columnOf has the column of each field of a token set.
var columnOf = map[string]string{"Generation": "generation", "NewGeneration": "generation", "AccessTokenSealed": "access_token_sealed", "RefreshTokenSealed": "refresh_token_sealed",
	"RefreshTokenDigest": "refresh_token_digest", "ClientIDDigest": "client_id_digest", "TokenType": "token_type", "Scopes": "scopes", "Metadata": "metadata",
	"ExpiresAt": "expires_at", "RefreshTokenExpiresAt": "refresh_token_expires_at", "GrantExpiresAt": "grant_expires_at", "NextRefreshAt": "next_refresh_at",
	"Status": "status", "Reason": "reason", "FailingCode": "failing_code", "Unproven": "unproven_since", "AmbiguousSince": "ambiguous_since", "NextAttemptAt": "next_attempt_at",
	"MissingScopes": "missing_scopes", "Host": "host"}

// changed returns the columns in which two writes differ.
func changed(a, b columns) (names []string) {
	for name := range b {
		if !assert.ObjectsAreEqual(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}

// TestTokenSetsAreWritten: each field of a token set, changed alone, changes its column.
func TestTokenSetsAreWritten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	t.Run("of a consent", func(t *testing.T) {
		full := fill.Of[TokenWrite]()
		for _, name := range fill.Names[TokenWrite]() {
			if name == "Sole" {
				continue // it is written beside the row
			}
			one := full
			fill.Clear(&one, name)
			assert.Contains(t, changed(tokenColumns(one, now), tokenColumns(full, now)), columnOf[name], name)
		}
	})
	t.Run("of a refresh", func(t *testing.T) {
		// These name or guard the row, or are written elsewhere.
		beside := []string{"ID", "AttemptID", "Generation", "Digest", "Ledger", "Seal", "Claimed"}
		full := fill.Of[SaveRequest]()
		c := perennial.Connection{Status: perennial.StatusActive}
		for _, name := range fill.Names[SaveRequest]() {
			if slices.Contains(beside, name) {
				continue
			}
			one := full
			fill.Clear(&one, name)
			assert.Contains(t, changed(saveColumns(c, one, now), saveColumns(c, full, now)), columnOf[name], name)
		}
	})
}

// TestLostAttemptIsWhole: the ledger line of a lost attempt has every field that its row has.
func TestLostAttemptIsWhole(t *testing.T) {
	t.Parallel()
	c := fill.Of[perennial.Connection]()
	c.Open.StartedAt, c.Open.Deadline = c.CreatedAt, c.CreatedAt.Add(time.Minute)
	assert.Equal(t, []string{"HTTPStatus", "RetryAfter", "LifeLeft", "Lateness", "RunID", "TraceID", "RequestID"},
		fill.Zeros(*lostAttempt(c, perennial.ReplaySingleUse)), "nobody was there to see them")
}

// TestIncidentsAreWhole: an operator sees every column about an app and its circuits.
func TestIncidentsAreWhole(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(fill.Of[circuitRow]().circuit()))
	assert.Equal(t, []string{"Connections", "Failing", "Queued", "Suspect", "Evidence", "ImportHolds", "ConsentHold"}, fill.Zeros(fill.Of[appRow]().state()), "these are counted")
}

// TestConnectionEventIsWhole: an event of a connection has every field that its row has.
// The other fields belong to other events.
func TestConnectionEventIsWhole(t *testing.T) {
	t.Parallel()
	e := connectionEvent(perennial.EventFailing, fill.Of[perennial.Connection]())
	assert.Equal(t, []string{"ID", "CreatedAt"}, fill.Zeros(e), "the outbox gives them")
	assert.Equal(t, []string{"Host", "Clock", "Days", "EndsAt", "Connections", "Tenants"}, fill.Zeros(e.Data))
}

// TestAppEventsAreWhole: operators' events copy their circuit or hold whole, and a hold the
// refusals that raise it.
func TestAppEventsAreWhole(t *testing.T) {
	t.Parallel()
	row := fill.Of[circuitRow]()
	e := row.event(perennial.EventCircuitOpened, "server_error")
	assert.Equal(t, []string{"ID", "TenantID", "ConnectionID", "CreatedAt"}, fill.Zeros(e))
	assert.Equal(t, []string{row.Host, "server_error"}, []string{e.Data.Host, e.Data.Code})

	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	hold := refusals{recent: 40, size: 50, since: now.Add(-time.Minute), tenants: map[string]int64{"a": 30, "b": 10}}.hold(&now)
	for column, value := range hold.columns(now) {
		assert.NotEmpty(t, value, column)
	}
	e = hold.event("crm")
	assert.Equal(t, []string{"ID", "TenantID", "ConnectionID", "CreatedAt"}, fill.Zeros(e), "the outbox gives id and time, and it is no connection's")
	assert.NotEmpty(t, e.Data.Code)
	assert.NotZero(t, e.Data.Connections)
	assert.NotEmpty(t, e.Data.Tenants)
}

// TestMadeWhole: the store copies a connection, a request or a row whole.
func TestMadeWhole(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	c := fill.Of[perennial.Connection]()
	well := perennial.Connection{ID: c.ID, TenantID: c.TenantID, App: c.App, Host: c.Host}
	next := fill.Of[ReturnProbeRequest]().next()
	taken := checkNext(perennial.Connection{ID: "con_1", Generation: 1, GenerationFloor: 3}, 2)
	require.IsType(t, &TakenError{}, taken)
	for name, made := range map[string]struct {
		value any
		zeros []string
	}{
		"a first refusal":           {value: refusalOf(c, now)},
		"a failure":                 {value: failureOf(NoteRequest{Connection: well, Code: "http_503"}, reasonUnavailable, now)},
		"a place in a release":      {value: waitingOf(c, now), zeros: []string{"TurnAt"}},
		"where a release goes on":   {value: cursorAfter(c, now)},
		"what a canary claims":      {value: canaryClaim(c, perennial.ReplayGrace), zeros: []string{"GraceWindow", "AfterGrace", "Floor", "Ungated", "Judged"}},
		"what a pacer claims":       {value: fill.Of[ClaimDueRequest]().claim(c), zeros: []string{"Class", "GraceWindow", "AfterGrace", "Floor", "Ungated", "Judged"}},
		"a call for another canary": {value: next, zeros: []string{"Ahead", "Operator"}},
		"rate slots":                {value: fill.Of[appRow]().slots()},
		"a generation given out":    {value: taken},
		"a claim of a row behind":   {value: decideClaim(perennial.Connection{Generation: 1}, ClaimRequest{Generation: 2}, now).claim, zeros: []string{"Connection", "RetryAt"}},
	} {
		assert.ElementsMatch(t, made.zeros, fill.Zeros(made.value), name)
	}
	circuit := fill.Of[circuitRow]()
	states := statesOf(nil, []circuitRow{circuit})
	require.Len(t, states, 1)
	assert.Equal(t, circuit.App, states[0].App)
}

// TestFailureIsWhole: a failure on record says everything as evidence but how many there are.
func TestFailureIsWhole(t *testing.T) {
	t.Parallel()
	r := fill.Of[failureRow]()
	assert.Equal(t, []string{"Connections", "Counted"}, fill.Zeros(r.evidence()))
}

// TestOpenedByIsWhole: a claim opens a whole attempt; sending is marked later.
func TestOpenedByIsWhole(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"Sent"}, fill.Zeros(openedBy(fill.Of[ClaimRequest](), fill.Of[perennial.Connection](), time.Unix(1, 0))))
}

// TestMetadataRowsAreWhole: what is read of a provider's metadata and of its client
// arrives.
func TestMetadataRowsAreWhole(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(fill.Of[metadataRow]().metadata()))
	assert.Empty(t, fill.Zeros(fill.Of[clientRow]().client()))
}
