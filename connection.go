package perennial

import (
	"strings"
	"time"
)

// Status of a connection.
type Status string

// The four statuses.
const (
	StatusActive            Status = "active"
	StatusReconnectRequired Status = "reconnect_required"
	StatusPaused            Status = "paused"
	StatusDisconnected      Status = "disconnected"
)

// Statuses lists every status.
var Statuses = []Status{StatusActive, StatusReconnectRequired, StatusPaused, StatusDisconnected}

// Health of an active connection.
type Health string

// An active connection is healthy, or failing since [Connection.FailingSince]
// with [Connection.FailingCode] as the cause. Failing is never terminal.
const (
	HealthHealthy Health = "healthy"
	HealthFailing Health = "failing"
)

// Healths lists every health.
var Healths = []Health{HealthHealthy, HealthFailing}

// Cadence is how often an active connection is refreshed.
type Cadence string

// Always keeps a valid access token at all times. OnUse does so while the
// connection is used; one that was not used for a day is refreshed once a day, for
// its refresh token's sake, and by the next reader.
const (
	CadenceAlways Cadence = "always"
	CadenceOnUse  Cadence = "on_use"
)

// Reason of [StatusReconnectRequired].
type Reason string

// The reasons. Rotation lost is our loss; the others are the customer's or the
// provider's doing.
const (
	ReasonNone           Reason = ""
	ReasonInvalidGrant   Reason = "invalid_grant"
	ReasonRotationLost   Reason = "rotation_lost"
	ReasonNoRefreshToken Reason = "no_refresh_token"
	ReasonGrantEnded     Reason = "grant_ended"
	ReasonIdleExpired    Reason = "idle_expired" // the provider's idle clock had run out
	ReasonScopesMissing  Reason = "scopes_missing"
	ReasonOperator       Reason = "operator"
)

// Reasons lists every reason of reconnect_required.
var Reasons = []Reason{ReasonInvalidGrant, ReasonRotationLost, ReasonNoRefreshToken,
	ReasonGrantEnded, ReasonIdleExpired, ReasonScopesMissing, ReasonOperator}

// Connection is one customer's grant at one provider account, as its row says.
// It carries tokens only in sealed form. All times are the database's clock, in
// UTC; the zero time means "not known" or "not set".
type Connection struct {
	ID        string `json:"id"`
	TenantID  string `json:"tenant_id"`
	App       string `json:"app"`      // client registration, environment included
	Provider  string `json:"provider"` // catalogue name
	Host      string `json:"host"`     // of its token endpoint
	AccountID string `json:"account_id"`

	Cadence Cadence `json:"cadence,omitempty"` // empty: always

	Status      Status `json:"status"`
	Reason      Reason `json:"reason,omitempty"`
	Health      Health `json:"health,omitempty"`       // of an active one; of another status it is left from before
	FailingCode string `json:"failing_code,omitempty"` // why Health is failing

	// Generation grows by one with every stored token set and is never given
	// twice.
	Generation int64 `json:"generation"`

	// GenerationFloor is the highest number that is known to have been given out
	// where the database went backwards; 0: it did not.
	GenerationFloor int64 `json:"generation_floor,omitempty"`

	AccessTokenSealed  []byte `json:"-"`
	RefreshTokenSealed []byte `json:"-"`
	RefreshTokenDigest string `json:"-"` // [Secret.Digest] of the stored refresh token
	ClientIDDigest     string `json:"-"` // of the client that the grant was made with

	TokenType string            `json:"token_type,omitempty"`
	Scopes    []string          `json:"scopes,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"` // realm, instance URL, API domain

	FailingSince          time.Time `json:"failing_since,omitzero"`
	ExpiresAt             time.Time `json:"expires_at,omitzero"` // access token; kept true, no buffer in it
	RefreshTokenExpiresAt time.Time `json:"refresh_token_expires_at,omitzero"`
	GrantExpiresAt        time.Time `json:"grant_expires_at,omitzero"`
	NextRefreshAt         time.Time `json:"next_refresh_at,omitzero"` // the buffer lives here
	NextAttemptAt         time.Time `json:"next_attempt_at,omitzero"` // no attempt before it
	LastRefreshedAt       time.Time `json:"last_refreshed_at,omitzero"`
	LastUsedAt            time.Time `json:"last_used_at,omitzero"`
	LastUnauthorizedAt    time.Time `json:"last_unauthorized_at,omitzero"`

	RefreshCount int64 `json:"refresh_count"` // successful refreshes, reconnects not counted
	FailureCount int   `json:"failure_count"` // consecutive failed attempts

	Open OpenAttempt `json:"open_attempt,omitzero"`

	// AmbiguousSince is set while the refresh token may have been spent by an
	// attempt whose reply never came; it stays until the generation rises.
	AmbiguousSince  time.Time `json:"ambiguous_since,omitzero"`
	AmbiguousDigest string    `json:"-"`
	// SuspectSince is set by a first definite refusal; ConfirmAt is when it may
	// be presented once more.
	SuspectSince  time.Time `json:"suspect_since,omitzero"`
	SuspectDigest string    `json:"-"`
	ConfirmAt     time.Time `json:"confirm_at,omitzero"`

	// QueuedAt is since when the connection waits for others: an open circuit, a
	// limit. What ends the wait also moves NextAttemptAt.
	QueuedAt time.Time `json:"queued_at,omitzero"`

	// The last warning that was given before the refresh token's idle end and
	// before the grant's end: how many days before which end.
	IdleWarning, GrantWarning Warning `json:"-"`

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// WithoutStale returns the connection without what its row keeps from an earlier
// status and no longer holds: health, and when the next refresh is due, are of an
// active one only, and a disconnected one has no token that could expire. Whatever
// shows a connection to people or programs shows this.
func (c Connection) WithoutStale() Connection {
	if c.Status == StatusActive {
		return c
	}
	c.Health, c.FailingCode, c.FailingSince, c.FailureCount = "", "", time.Time{}, 0
	c.NextRefreshAt, c.NextAttemptAt, c.SuspectSince, c.ConfirmAt, c.QueuedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if c.Status == StatusDisconnected {
		c.ExpiresAt, c.RefreshTokenExpiresAt, c.GrantExpiresAt, c.AmbiguousSince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	}
	return c
}

// DormantAfter is for how long a connection of cadence on_use goes unused before it
// is left alone.
const DormantAfter = 24 * time.Hour

// Dormant reports whether nobody has used the connection for so long that its
// access token may expire. now is the database's clock.
func (c Connection) Dormant(now time.Time) bool {
	used := c.LastUsedAt
	if used.IsZero() {
		used = c.CreatedAt
	}
	return c.Cadence == CadenceOnUse && now.Sub(used) > DormantAfter
}

// OpenAttempt is the attempt that holds the connection's fence. The zero value
// means that none is open.
type OpenAttempt struct {
	ID        string    `json:"id,omitempty"`
	Digest    string    `json:"-"` // of the refresh token it presents
	StartedAt time.Time `json:"started_at,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"` // past it the attempt counts as lost
	Sent      bool      `json:"sent,omitempty"`    // the `sending` mark, written for reuse_revokes only
	Trigger   Trigger   `json:"trigger,omitempty"`
}

// MaxLease is the longest that an attempt may hold the fence; a deadline
// further ahead was written by mistake.
const MaxLease = time.Hour

// Alive reports whether the attempt holds the fence at now, the database's clock.
func (o OpenAttempt) Alive(now time.Time) bool {
	return o.ID != "" && o.Deadline.After(now) && !o.Deadline.After(now.Add(MaxLease))
}

// Warned is a warning that was given: Days before the end that was then known.
type Warning struct {
	Days int
	For  time.Time
}

// IsZero reports that no attempt is open.
func (o OpenAttempt) IsZero() bool { return o.ID == "" }

// Ambiguous reports whether the row's current refresh token may already have
// been spent.
func (c Connection) Ambiguous() bool {
	return !c.AmbiguousSince.IsZero() && c.AmbiguousDigest == c.RefreshTokenDigest
}

// Suspect reports whether the row's current refresh token was refused once.
func (c Connection) Suspect() bool {
	return !c.SuspectSince.IsZero() && c.SuspectDigest == c.RefreshTokenDigest
}

// MaxWait is the longest that a row may ask to wait before the next
// attempt. It is above the longest Retry-After (24 h) with its spread; a wait
// that ends later was written by mistake and does not count.
const MaxWait = 30 * time.Hour

// WaitsUntil is before when nothing may be presented; zero, or a past time, for
// no wait. now is the database's clock.
func (c Connection) WaitsUntil(now time.Time) time.Time {
	var until time.Time
	for _, t := range []time.Time{c.NextAttemptAt, c.ConfirmAt} {
		if t.After(until) && !t.After(now.Add(MaxWait)) {
			until = t
		}
	}
	return until
}

// TokenSet is what a token endpoint replied (RFC 6749 section 5.1), read
// leniently: a bad lifetime never costs a token.
type TokenSet struct {
	AccessToken  Secret
	RefreshToken Secret   // empty: the old one stays
	TokenType    string   // [TokenTypeBearer]; empty: not given
	Scopes       []string // nil: as before

	// ExpiresIn is the access token's life counted from sending; 0: not given
	// or not usable.
	ExpiresIn time.Duration
	// RefreshTokenExpiresIn is the refresh token's idle life; 0: not given.
	RefreshTokenExpiresIn time.Duration
	// GrantExpiresIn is the time to the hard end of the grant; 0: not given.
	GrantExpiresIn time.Duration

	Metadata map[string]string // what the catalogue entry asks to keep
}

// TokenTypeBearer is the type of every access token here, and the scheme of the
// Authorization header that carries it (RFC 6750 section 2.1). What a provider
// writes into token_type is not used as a scheme: Slack writes "bot" and "user",
// and neither DPoP nor MAC is supported.
const TokenTypeBearer = "Bearer"

// ParseScopes splits a scope parameter (RFC 6749 section 3.3): spaces, and
// commas as several providers write them.
func ParseScopes(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}
