package provider

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

// BufferProfile says how long before its expiry an access token is renewed.
type BufferProfile string

// The profiles; each is cut to 25 % of the token's life.
const (
	BufferQueue    BufferProfile = "queue"    // 5 min; the default
	BufferRealtime BufferProfile = "realtime" // 2 min
	BufferShare    BufferProfile = "share"    // 10 % of the life, at most 10 min
)

// Entry is one provider of the catalogue. Every entry is a literal; what is not
// documented is left at its careful side and said so in Notes.
type Entry struct {
	Name  string // "hubspot"
	Title string // as customers know it: "HubSpot"

	AuthURL       string
	TokenURL      string
	IntrospectURL string           // RFC 7662
	RevokeURL     string           // RFC 7009
	AuthStyle     oauth2.AuthStyle // always pinned: auto-detection sends a token twice

	ReplayClass  perennial.ReplayClass
	ReplaySource string        // where the class is documented, or that it is not
	GraceWindow  time.Duration // for ReplayGrace, from the first sending

	DefaultLifetime time.Duration // of an access token whose reply names none; 0: not known
	IdleLifetime    time.Duration // of an unused refresh token; 0: no limit known
	GrantLifetime   time.Duration // hard end from consent; 0: none known

	// HostSuffixes allow the hosts that may stand for {host} in the URLs: one that
	// begins with a dot matches every name below it, another that name exactly.
	HostSuffixes []string
	// RateLimitScope says whom a 429 concerns.
	RateLimitScope RateLimitScope

	// RefreshKillsAccessToken: a refresh ends the old access token at once.
	RefreshKillsAccessToken bool

	// SecretAsUser: the client's secret is the user name of the Basic header, with
	// no password; the client id is not sent.
	SecretAsUser bool
	// JSONBody: the request's members travel as a JSON object, not as a form.
	JSONBody bool
	// RefreshParams are members of the token requests beyond RFC 6749.
	RefreshParams map[string]string

	// AuthParams are members of the authorization request beyond RFC 6749 and 7636.
	AuthParams map[string]string
	// ScopeSeparator stands between the scopes of an authorization request;
	// empty: a space (RFC 6749 section 3.3).
	ScopeSeparator string
	// ScopesUnnamed are scopes that are granted but not named in the reply.
	ScopesUnnamed []string
	// Issuer is the iss of its authorization responses (RFC 9207), and of its ID
	// tokens; empty: not known, and not compared.
	Issuer string
	// IssuerSent: each authorization response has an iss; one without is refused.
	IssuerSent bool
	// Account says where a new grant's account id is found.
	Account AccountSource

	// TokensUnder is the member of a reply that holds the tokens where its top
	// level has none: "authed_user".
	TokensUnder string

	Spellings       []Spelling    // the provider's own errors, first match wins
	APISpellings    []APISpelling // what its API says beside a 401, first match wins
	ReadPosts       []string      // POSTs of its API that change nothing: paths, * for one segment
	RequestIDHeader string        // of the provider's own request id: "intuit_tid"
	MetadataFields  []string      // members of the token reply that are kept
	AccountField    string        // name of the account id as customers know it: "portal id"
	Notes           string        // what is not verified
}

// ServesToEnd reports whether, after an unknown outcome, the access token is
// served to its end before the refresh token is shown again: where reuse would
// revoke it, unless a refresh has ended it anyway.
func (e Entry) ServesToEnd() bool {
	return e.ReplayClass == perennial.ReplayReuseRevokes && !e.RefreshKillsAccessToken
}

// RateLimitScope says whom a provider's 429 concerns.
type RateLimitScope string

// The scopes. Where it is not documented a 429 slows down its own connection
// only: one account over its limit must not stop the others.
const (
	ScopeConnection RateLimitScope = ""
	ScopeApp        RateLimitScope = "app"
	ScopeHost       RateLimitScope = "host" // the app at that host
)

// Spelling is one provider's own way to say an outcome. Zero fields match
// anything; at least one is set. Without a status of its own it does not match
// a 429 or a 5xx: what those say about the token is not to be believed.
type Spelling struct {
	HTTPStatus int    // 0: any but 429 and 5xx
	Code       string // of the reply's error code, compared without case
	Contains   string // in the error description, compared without case
	Outcome    perennial.Outcome
}

// App is one client registration at a provider, environment included: an Entry
// with the configuration's settings laid over it.
type App struct {
	Name     string
	Provider Entry
	ClientID string
	// ClientSecrets are tried in order; the next only where the provider
	// rejected the client.
	ClientSecrets []perennial.Secret
	Scopes        []string
	Buffer        BufferProfile
	// MaxRefreshesPerSecond bounds the token requests of the whole fleet; 0: no
	// bound.
	MaxRefreshesPerSecond float64
	// Pacers is how many pacer workflows look after the healthy connections of a
	// pooled app; 0: each connection's own workflow wakes for each refresh.
	Pacers int
	// Cadence is that of new connections; empty: always.
	Cadence perennial.Cadence
}

// Secrets lists the client secrets in the order in which they are tried: at least
// one, which is empty for a public client.
func (a App) Secrets() []perennial.Secret {
	if len(a.ClientSecrets) == 0 {
		return []perennial.Secret{{}}
	}
	return a.ClientSecrets
}

// Reply is what one presentation of a refresh token brought. It never holds
// the provider's body.
type Reply struct {
	Outcome perennial.Outcome
	Tokens  perennial.TokenSet // for OutcomeRefreshed
	// Cut: the reply may have broken off before the end of a new refresh token.
	// Tokens has none, and the one that was presented may be spent.
	Cut     bool
	Account string // of a code exchange, where the reply says it

	Sent        bool          // at least one byte of the request may have left
	HTTPStatus  int           // 0: no reply
	Code        string        // bounded, from the reply or our own: "timeout", "malformed_reply"
	Description string        // bounded and redacted
	RetryAfter  time.Duration // 0: none named; else at least 1 s, at most 24 h
	RequestID   string        // the provider's own
	Duration    time.Duration
}
