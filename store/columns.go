package store

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
)

type (
	connection = perennial.Connection
	attempt    = perennial.Attempt
)

// connections is the table connections. It is in the order of the fields of
// [perennial.Connection].
var connections = table[connection]{"connections", []column[connection]{
	text("id", func(c *connection) *string { return &c.ID }),
	text("tenant_id", func(c *connection) *string { return &c.TenantID }),
	text("app", func(c *connection) *string { return &c.App }),
	text("provider", func(c *connection) *string { return &c.Provider }),
	text("host", func(c *connection) *string { return &c.Host }),
	text("account_id", func(c *connection) *string { return &c.AccountID }),
	text("cadence", func(c *connection) *perennial.Cadence { return &c.Cadence }),
	text("status", func(c *connection) *perennial.Status { return &c.Status }),
	text("reason", func(c *connection) *perennial.Reason { return &c.Reason }),
	text("health", func(c *connection) *perennial.Health { return &c.Health }),
	text("failing_code", func(c *connection) *string { return &c.FailingCode }),
	kind("missing_scopes", func(c *connection) *[]string { return &c.MissingScopes }, parseMissing, func(s []string) any { return scopesText(s) }),
	instant("failing_since", func(c *connection) *time.Time { return &c.FailingSince }),
	bigint("generation", func(c *connection) *int64 { return &c.Generation }),
	blob("access_token_sealed", func(c *connection) *[]byte { return &c.AccessTokenSealed }),
	blob("refresh_token_sealed", func(c *connection) *[]byte { return &c.RefreshTokenSealed }),
	text("refresh_token_digest", func(c *connection) *string { return &c.RefreshTokenDigest }),
	text("client_id_digest", func(c *connection) *string { return &c.ClientIDDigest }),
	text("token_type", func(c *connection) *string { return &c.TokenType }),
	kind("scopes", func(c *connection) *[]string { return &c.Scopes }, perennial.ParseScopes, func(s []string) any { return scopesText(s) }),
	kind("metadata", func(c *connection) *map[string]string { return &c.Metadata }, parseMetadata, func(m map[string]string) any { return metadataText(m) }),
	instant("expires_at", func(c *connection) *time.Time { return &c.ExpiresAt }),
	instant("refresh_token_expires_at", func(c *connection) *time.Time { return &c.RefreshTokenExpiresAt }),
	instant("grant_expires_at", func(c *connection) *time.Time { return &c.GrantExpiresAt }),
	instant("next_refresh_at", func(c *connection) *time.Time { return &c.NextRefreshAt }),
	instant("next_attempt_at", func(c *connection) *time.Time { return &c.NextAttemptAt }),
	instant("backoff_until", func(c *connection) *time.Time { return &c.BackoffUntil }),
	instant("last_refreshed_at", func(c *connection) *time.Time { return &c.LastRefreshedAt }),
	instant("unproven_since", func(c *connection) *time.Time { return &c.UnprovenSince }),
	instant("last_used_at", func(c *connection) *time.Time { return &c.LastUsedAt }),
	instant("last_unauthorized_at", func(c *connection) *time.Time { return &c.LastUnauthorizedAt }),
	bigint("refresh_count", func(c *connection) *int64 { return &c.RefreshCount }),
	integer("failure_count", func(c *connection) *int { return &c.FailureCount }),
	text("attempt_id", func(c *connection) *string { return &c.Open.ID }),
	text("attempt_digest", func(c *connection) *string { return &c.Open.Digest }),
	instant("attempt_started_at", func(c *connection) *time.Time { return &c.Open.StartedAt }),
	instant("attempt_deadline", func(c *connection) *time.Time { return &c.Open.Deadline }),
	flag("attempt_sent", func(c *connection) *bool { return &c.Open.Sent }),
	text("attempt_trigger", func(c *connection) *perennial.Trigger { return &c.Open.Trigger }),
	instant("ambiguous_since", func(c *connection) *time.Time { return &c.AmbiguousSince }),
	text("ambiguous_digest", func(c *connection) *string { return &c.AmbiguousDigest }),
	instant("suspect_since", func(c *connection) *time.Time { return &c.SuspectSince }),
	text("suspect_digest", func(c *connection) *string { return &c.SuspectDigest }),
	instant("confirm_at", func(c *connection) *time.Time { return &c.ConfirmAt }),
	bigint("generation_floor", func(c *connection) *int64 { return &c.GenerationFloor }),
	instant("queued_at", func(c *connection) *time.Time { return &c.QueuedAt }),
	instant("forced_at", func(c *connection) *time.Time { return &c.ForcedAt }),
	integer("forced_count", func(c *connection) *int { return &c.ForcedCount }),
	bigint("set_aside_generation", func(c *connection) *int64 { return &c.SetAsideGeneration }),
	instant("set_aside_until", func(c *connection) *time.Time { return &c.SetAsideUntil }),
	integer("idle_warned_days", func(c *connection) *int { return &c.IdleWarning.Days }),
	instant("idle_warned_for", func(c *connection) *time.Time { return &c.IdleWarning.For }),
	integer("grant_warned_days", func(c *connection) *int { return &c.GrantWarning.Days }),
	instant("grant_warned_for", func(c *connection) *time.Time { return &c.GrantWarning.For }),
	instant("created_at", func(c *connection) *time.Time { return &c.CreatedAt }),
	instant("updated_at", func(c *connection) *time.Time { return &c.UpdatedAt }),
}}

// attempts is the table attempts, the ledger.
var attempts = table[attempt]{"attempts", []column[attempt]{
	text("id", func(a *attempt) *string { return &a.ID }),
	text("connection_id", func(a *attempt) *string { return &a.ConnectionID }),
	bigint("generation", func(a *attempt) *int64 { return &a.Generation }),
	text("trigger_name", func(a *attempt) *perennial.Trigger { return &a.Trigger }),
	text("outcome", func(a *attempt) *perennial.Outcome { return &a.Outcome }),
	text("error_code", func(a *attempt) *string { return &a.ErrorCode }),
	integer("http_status", func(a *attempt) *int { return &a.HTTPStatus }),
	milliseconds("retry_after_ms", func(a *attempt) *time.Duration { return &a.RetryAfter }),
	milliseconds("duration_ms", func(a *attempt) *time.Duration { return &a.Duration }),
	milliseconds("life_left_ms", func(a *attempt) *time.Duration { return &a.LifeLeft }),
	milliseconds("lateness_ms", func(a *attempt) *time.Duration { return &a.Lateness }),
	integer("retries", func(a *attempt) *int { return &a.Retries }),
	text("run_id", func(a *attempt) *string { return &a.RunID }),
	text("trace_id", func(a *attempt) *string { return &a.TraceID }),
	text("request_id", func(a *attempt) *string { return &a.RequestID }),
	// It is never null: a ledger line without a time must not cost the save of its tokens.
	kind("started_at", func(a *attempt) *time.Time { return &a.StartedAt }, time.Time.UTC, func(t time.Time) any { return t.UTC().Truncate(time.Microsecond) }),
}}

// withoutSealed is the table connections without the sealed tokens.
var withoutSealed = connections.without("_sealed")

// readConnections returns the connections that q matches.
func readConnections(q *gorm.DB) ([]perennial.Connection, error) {
	all, err := connections.find(q)
	for i := range all {
		all[i] = tidy(all[i])
	}
	return all, err
}

// tidy clears the attempt of a row that has none open: its columns may hold leftovers.
func tidy(c perennial.Connection) perennial.Connection {
	if c.Open.ID == "" {
		c.Open = perennial.OpenAttempt{}
	}
	return c
}

func parseMetadata(text string) (m map[string]string) {
	// A value that another program wrote badly must not cost the connection.
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil
	}
	return m
}

func metadataText(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	out, err := json.Marshal(m)
	if err != nil { // strings always marshal
		return "{}"
	}
	return string(out)
}

// parseMissing returns nil for none, as nearly every connection has it.
func parseMissing(text string) []string {
	if text == "" {
		return nil
	}
	return perennial.ParseScopes(text)
}

func scopesText(s []string) string { return strings.Join(s, " ") }

// columns holds the names and values of one write.
type columns map[string]any

// noAttempt adds the columns that close the open attempt.
func (set columns) noAttempt() columns {
	return set.with(columns{"attempt_id": "", "attempt_digest": "", "attempt_started_at": nil, "attempt_deadline": nil, "attempt_sent": false, "attempt_trigger": ""})
}

// noDoubt adds the columns that forget everything about the old refresh token.
func (set columns) noDoubt() columns {
	return set.with(columns{"ambiguous_since": nil, "ambiguous_digest": "", "suspect_since": nil, "suspect_digest": "", "confirm_at": nil,
		"next_attempt_at": nil, "backoff_until": nil, "queued_at": nil, "failure_count": 0, "health": string(perennial.HealthHealthy), "failing_code": "", "failing_since": nil})
}

// ownWait adds a wait that is our own: see [perennial.Connection.OwnWait].
func (set columns) ownWait(until time.Time) columns {
	return set.with(columns{"next_attempt_at": db.Nullable(until), "backoff_until": db.Nullable(until)})
}

// hardWait adds a wait that nobody may shorten. A zero time is none.
func (set columns) hardWait(until time.Time) columns {
	return set.with(columns{"next_attempt_at": db.Nullable(until), "backoff_until": nil, "queued_at": nil})
}

func (set columns) with(more columns) columns {
	for k, v := range more {
		set[k] = v
	}
	return set
}

// shortened sets a wait of our own in many rows at once, except in those with another
// wait that is not over: nobody may shorten that. In Go it is
// [perennial.Connection.NotBefore], whose [perennial.MaxWait] it keeps too.
func (s *Store) shortened(until, now time.Time) columns {
	cast := ""
	if s.db.Dialect == schema.Postgres {
		cast = "::timestamptz"
	}
	const hard = "next_attempt_at > ? AND next_attempt_at <= ? AND queued_at IS NULL AND (backoff_until IS NULL OR backoff_until <> next_attempt_at)"
	last := db.Nullable(now.Add(perennial.MaxWait))
	return columns{
		"next_attempt_at": gorm.Expr("CASE WHEN "+hard+" THEN next_attempt_at ELSE ?"+cast+" END", db.Nullable(until), last, db.Nullable(until)),
		"backoff_until":   gorm.Expr("CASE WHEN "+hard+" THEN backoff_until ELSE ?"+cast+" END", db.Nullable(until), last, db.Nullable(until)),
	}
}
