package words

// Status is the status of a connection.
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

// Health is the health of an active connection.
type Health string

// An active connection is healthy, or failing. Failing is never terminal.
const (
	HealthHealthy Health = "healthy"
	HealthFailing Health = "failing"
)

// Healths lists every health.
var Healths = []Health{HealthHealthy, HealthFailing}

// Reason is why the status is [StatusReconnectRequired].
type Reason string

// The reasons. Rotation lost is our loss; the customer or the provider causes the
// others.
const (
	ReasonNone           Reason = ""
	ReasonInvalidGrant   Reason = "invalid_grant"
	ReasonRotationLost   Reason = "rotation_lost"
	ReasonNoRefreshToken Reason = "no_refresh_token"
	ReasonGrantEnded     Reason = "grant_ended"
	ReasonSignInRequired Reason = "sign_in_required"    // the provider wants the user to sign in or consent again
	ReasonIdleExpired    Reason = "idle_expired"        // the refresh token went unused for longer than the provider allows
	ReasonCredentials    Reason = "credentials_refused" // what the customer gave in place of a consent is no longer accepted
	ReasonGrantReplaced  Reason = "grant_replaced"      // the provider allows so many grants for a user, and a newer one ended this
	ReasonScopesMissing  Reason = "scopes_missing"
	ReasonOperator       Reason = "operator"
)

// Reasons lists every reason of reconnect_required.
var Reasons = []Reason{ReasonInvalidGrant, ReasonRotationLost, ReasonNoRefreshToken,
	ReasonGrantEnded, ReasonIdleExpired, ReasonSignInRequired, ReasonCredentials, ReasonGrantReplaced, ReasonScopesMissing, ReasonOperator}

// TokenTypeBearer is the type of every access token here, and the scheme of the
// Authorization header that carries it (RFC 6750 section 2.1). A provider's own
// token_type is not used as a scheme: Slack writes "bot" and "user", and neither DPoP
// nor MAC is supported.
const TokenTypeBearer = "Bearer"
