package perennial

import (
	"strings"
	"time"
)

// Cadence is how often an active connection is refreshed.
type Cadence string

// CadenceAlways keeps the access token valid at all times. CadenceOnUse does so only
// while the connection is used. After a day without use it refreshes once a day, so
// that the refresh token does not expire, and when the next reader asks.
const (
	CadenceAlways Cadence = "always"
	CadenceOnUse  Cadence = "on_use"
)

// Connection is one customer's grant at one provider account, as its row says. It has
// tokens only in sealed form. All times are the database's clock, in UTC; the zero time
// means "not known" or "not set".
type Connection struct {
	ID        string `json:"id"`
	TenantID  string `json:"tenant_id"`
	App       string `json:"app"`      // the client registration, in one environment
	Provider  string `json:"provider"` // the catalogue's name
	Host      string `json:"host"`     // the host of its token endpoint
	AccountID string `json:"account_id"`

	Cadence Cadence `json:"cadence,omitempty"` // empty: always

	Status      Status `json:"status"`
	Reason      Reason `json:"reason,omitempty"`
	Health      Health `json:"health,omitempty"`       // only for status active; otherwise left over from before
	FailingCode string `json:"failing_code,omitempty"` // why Health is failing

	// Generation grows by one with every stored token set. No number is used twice.
	Generation int64 `json:"generation"`

	// GenerationFloor is the highest number known to have been given out before the
	// database went backwards; 0: it never did.
	GenerationFloor int64 `json:"generation_floor,omitempty"`

	AccessTokenSealed  []byte `json:"-"`
	RefreshTokenSealed []byte `json:"-"`
	RefreshTokenDigest string `json:"-"` // [Secret.Digest] of the stored refresh token
	ClientIDDigest     string `json:"-"` // digest of the client id that the grant was made with

	TokenType string            `json:"token_type,omitempty"`
	Scopes    []string          `json:"scopes,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"` // realm, instance URL, API domain

	// MissingScopes are the scopes that the app requires, that the grant had, and that a
	// later reply no longer named. The connection is refreshed all the same.
	MissingScopes []string `json:"missing_scopes,omitempty"`

	FailingSince          time.Time `json:"failing_since,omitzero"`
	ExpiresAt             time.Time `json:"expires_at,omitzero"` // of the access token; the true time, without a buffer
	RefreshTokenExpiresAt time.Time `json:"refresh_token_expires_at,omitzero"`
	GrantExpiresAt        time.Time `json:"grant_expires_at,omitzero"`
	NextRefreshAt         time.Time `json:"next_refresh_at,omitzero"` // ExpiresAt less the buffer
	NextAttemptAt         time.Time `json:"next_attempt_at,omitzero"` // no attempt before it
	BackoffUntil          time.Time `json:"backoff_until,omitzero"`   // see [Connection.OwnWait]
	LastRefreshedAt       time.Time `json:"last_refreshed_at,omitzero"`
	UnprovenSince         time.Time `json:"unproven_since,omitzero"` // its tokens are a caller's, and no refresh has shown yet that they work
	LastUsedAt            time.Time `json:"last_used_at,omitzero"`
	LastUnauthorizedAt    time.Time `json:"last_unauthorized_at,omitzero"`

	RefreshCount int64 `json:"refresh_count"` // successful refreshes, reconnects not counted
	FailureCount int   `json:"failure_count"` // consecutive failed attempts

	Open OpenAttempt `json:"open_attempt,omitzero"`

	// AmbiguousSince is set while the refresh token may have been spent by an attempt
	// whose reply never arrived. It stays until the generation rises.
	AmbiguousSince  time.Time `json:"ambiguous_since,omitzero"`
	AmbiguousDigest string    `json:"-"`
	// A first definite refusal sets SuspectSince. ConfirmAt is when the token may be
	// presented once more.
	SuspectSince  time.Time `json:"suspect_since,omitzero"`
	SuspectDigest string    `json:"-"`
	ConfirmAt     time.Time `json:"confirm_at,omitzero"`

	// QueuedAt is since when the connection waits for its app: an open circuit or a
	// limit. The event that ends the wait also moves NextAttemptAt.
	QueuedAt time.Time `json:"queued_at,omitzero"`

	// ForcedAt is when the last forced refresh began, and ForcedCount how many there were
	// in a row: see [Floor]. Both are zero after any other refresh.
	ForcedAt    time.Time `json:"forced_at,omitzero"`
	ForcedCount int       `json:"forced_count,omitempty"`

	// SetAsideGeneration is the generation of a newer token set that was received and
	// cannot be stored now. While it is above Generation, and until SetAsideUntil, the
	// refresh token is not presented, unless its replay class is reusable.
	SetAsideGeneration int64     `json:"set_aside_generation,omitempty"`
	SetAsideUntil      time.Time `json:"set_aside_until,omitzero"`

	// The last warnings before the refresh token's idle end and before the grant's end.
	IdleWarning, GrantWarning Warning `json:"-"`

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// WithoutStale returns the connection without values that its row kept from an earlier
// status: only an active one has a health and a next refresh, and a disconnected one
// has no token that could expire. Show connections to people and programs in this form.
func (c Connection) WithoutStale() Connection {
	if c.Status == StatusActive {
		return c
	}
	c.Health, c.FailingCode, c.FailingSince, c.FailureCount = "", "", time.Time{}, 0
	c.NextRefreshAt, c.NextAttemptAt, c.BackoffUntil, c.SuspectSince, c.ConfirmAt, c.QueuedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	c.ForcedAt, c.ForcedCount, c.MissingScopes = time.Time{}, 0, nil
	if c.Status == StatusDisconnected {
		c.ExpiresAt, c.RefreshTokenExpiresAt, c.GrantExpiresAt, c.AmbiguousSince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		c.SetAsideGeneration, c.SetAsideUntil = 0, time.Time{}
	}
	return c
}

// DormantAfter is how long a connection of cadence on_use stays unused before it is no
// longer kept fresh.
const DormantAfter = 24 * time.Hour

// Dormant reports whether nobody has used the connection for so long that its access
// token may expire. now is the database's clock.
func (c Connection) Dormant(now time.Time) bool {
	used := c.LastUsedAt
	if used.IsZero() {
		used = c.CreatedAt
	}
	return c.Cadence == CadenceOnUse && now.Sub(used) > DormantAfter
}

// OpenAttempt is the attempt that has the connection's fence. The zero value means that
// no attempt is open.
type OpenAttempt struct {
	ID        string    `json:"id,omitempty"`
	Digest    string    `json:"-"` // digest of the refresh token that it presents
	StartedAt time.Time `json:"started_at,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"` // after it the attempt counts as lost
	Sent      bool      `json:"sent,omitempty"`    // the `sending` mark, written for reuse_revokes only
	Trigger   Trigger   `json:"trigger,omitempty"`
}

// MaxLease bounds how long an attempt may keep the fence. A later deadline was written
// by mistake.
const MaxLease = time.Hour

// Alive reports whether the attempt has the fence at now, the database's clock.
func (o OpenAttempt) Alive(now time.Time) bool {
	return o.ID != "" && o.Deadline.After(now) && !o.Deadline.After(now.Add(MaxLease))
}

// Warning is a warning that was emitted: Days before the end that was known then.
type Warning struct {
	Days int
	For  time.Time
}

// IsZero reports whether no attempt is open.
func (o OpenAttempt) IsZero() bool { return o.ID == "" }

// Ambiguous reports whether the row's current refresh token may already have been
// spent.
func (c Connection) Ambiguous() bool {
	return !c.AmbiguousSince.IsZero() && c.AmbiguousDigest == c.RefreshTokenDigest
}

// Proven reports whether the connection's tokens came from its provider to this client:
// by a code exchange or a refresh. Tokens that a caller imported are not proven before
// their first refresh.
func (c Connection) Proven() bool { return c.UnprovenSince.IsZero() }

// Words returns the text for the customer about the connection. title is the
// provider's name as customers know it.
func (c Connection) Words(title string) StatusText {
	if c.Status == StatusActive && c.Health == HealthFailing {
		return DescribeFailing(c.FailingCode, title)
	}
	if c.Status == StatusActive && len(c.MissingScopes) > 0 {
		return DescribeMissing(title)
	}
	return Describe(c.Status, c.Health, c.Reason, title)
}

// LongFailing is how long a connection must have been failing to count as failing for
// long.
const LongFailing = 24 * time.Hour

// FailingForLong reports whether the connection is active, and its refreshes have failed
// for [LongFailing] or more. now is the database's clock.
func (c Connection) FailingForLong(now time.Time) bool {
	return c.Status == StatusActive && c.Health == HealthFailing && c.FailureCount > 0 &&
		!c.FailingSince.IsZero() && !c.FailingSince.After(now.Add(-LongFailing))
}

// Suspect reports whether the row's current refresh token was refused once.
func (c Connection) Suspect() bool {
	return !c.SuspectSince.IsZero() && c.SuspectDigest == c.RefreshTokenDigest
}

// HasSetAside reports whether a token set above the row's generation was received and
// set aside. The row's refresh token is then probably spent.
func (c Connection) HasSetAside() bool { return c.SetAsideGeneration > c.Generation }

// MaxWait bounds the wait that a row may demand before the next attempt. It exceeds the
// longest Retry-After (24 h) with its spread. A wait that ends later was written by
// mistake and is ignored.
const MaxWait = 30 * time.Hour

// WaitsUntil returns the time before which no token may be presented: zero, or a past
// time, if there is no wait. now is the database's clock.
func (c Connection) WaitsUntil(now time.Time) time.Time {
	var until time.Time
	for _, t := range []time.Time{c.NextAttemptAt, c.ConfirmAt} {
		if t.After(until) && !t.After(now.Add(MaxWait)) {
			until = t
		}
	}
	return until
}

// OwnWait reports whether the wait until NextAttemptAt is our own: a backoff, for which
// BackoffUntil is the same, or a wait for the app. An operator's or a probe's word may
// end it. Any other wait has a reason outside of this program, see
// [Connection.NotBefore].
func (c Connection) OwnWait() bool {
	return !c.QueuedAt.IsZero() || !c.BackoffUntil.IsZero() && c.BackoffUntil.Equal(c.NextAttemptAt)
}

// NotBefore returns the time before which nobody may present the token:
// the provider asked for that, a refusal is being confirmed, or the access token is
// served to its end. It is zero, or a past time, if there is no such wait. now is the
// database's clock.
func (c Connection) NotBefore(now time.Time) time.Time {
	if c.OwnWait() {
		c.NextAttemptAt = time.Time{}
	}
	return c.WaitsUntil(now)
}

// TokenSet is the reply of a token endpoint (RFC 6749 section 5.1), read leniently: a
// bad lifetime never costs a token.
type TokenSet struct {
	AccessToken  Secret
	RefreshToken Secret   // empty: the old one stays valid
	TokenType    string   // [TokenTypeBearer]; empty: none in the reply
	Scopes       []string // nil: unchanged

	// ExpiresIn is the access token's lifetime, counted from the sending of the
	// request; 0: none in the reply, or unusable.
	ExpiresIn time.Duration
	// RefreshTokenExpiresIn is the refresh token's idle life; 0: none in the reply.
	RefreshTokenExpiresIn time.Duration
	// GrantExpiresIn is the time until the hard end of the grant; 0: none in the reply.
	GrantExpiresIn time.Duration

	Metadata map[string]string // the members that the catalogue's entry names
}

// ParseScopes splits a scope parameter (RFC 6749 section 3.3) at spaces, and at commas,
// which several providers use.
func ParseScopes(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}
