package provider

import (
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/resource"
	"golang.org/x/oauth2"
)

// BufferProfile says how long before its expiry an access token is renewed.
type BufferProfile string

// The profiles; any other value is a duration, as in "30s" (see [BufferProfile.Fixed]).
// Each is limited to 25 % of the token's life.
const (
	BufferQueue    BufferProfile = "queue"    // 5 min; the default
	BufferRealtime BufferProfile = "realtime" // 2 min
	BufferShare    BufferProfile = "share"    // 10 % of the life, at most 10 min
)

// Fixed returns the buffer of a profile that is a duration: from 10 s, because a request
// takes time, to an hour.
func (p BufferProfile) Fixed() (d time.Duration, ok bool) {
	d, err := time.ParseDuration(string(p))
	return d, err == nil && d >= minBuffer && d <= maxBuffer
}

const (
	minBuffer = 10 * time.Second
	maxBuffer = time.Hour
)

// Entry is one provider of the catalogue; [Description] is its written form. If a fact
// is not documented, the entry takes the careful side and says so in Notes.
type Entry struct {
	Name  string // "hubspot"
	Title string // as customers know it: "HubSpot"

	// Grant says what an access token is asked for with. GrantType is its grant_type, if
	// that is not the standard's.
	Grant     Grant
	GrantType string
	// Credentials are the names of what a customer gives for a connection, if Grant is
	// from credentials; those of CredentialsOptional may be left out.
	Credentials         []string
	CredentialsOptional []string

	// Renewal says how access tokens are renewed. Exchange is the request for it with
	// RenewalAccessToken, FirstExchange that of a consent's own token if it is another one.
	// CheckURL is what RenewalNone asks whether an access token is still good; empty: the
	// URL of Account.
	Renewal       Renewal
	Exchange      TokenExchange
	FirstExchange TokenExchange
	CheckURL      string

	AuthURL       string
	TokenURL      string
	IntrospectURL string           // RFC 7662
	RevokeURL     string           // RFC 7009
	RefreshURL    string           // of refreshes, at TokenURL's host; "": they go to TokenURL
	AuthStyle     oauth2.AuthStyle // always set: auto-detection would send a token twice
	// Assertion says how the client's signed tokens are made.
	Assertion Assertion

	Rotation     Rotation // for people: whatever a refresh brings is stored
	ReplayClass  perennial.ReplayClass
	ReplaySource string                // where the class is documented, or that it is not
	GraceWindow  time.Duration         // for ReplayGrace, from the first sending
	GraceReply   GraceReply            // what a replay within it answers; empty: not documented
	AfterGrace   perennial.ReplayClass // of a replay after it; empty: not documented, see [Entry.Later]

	DefaultLifetime time.Duration // of an access token whose reply has none; 0: not known
	IdleLifetime    time.Duration // of an unused refresh token; 0: no limit known
	GrantLifetime   time.Duration // from consent to the hard end; 0: none known

	// GrantsPerUser is how many grants, or refresh tokens, a user may have for one client
	// before the oldest ends; 0: no such limit known.
	GrantsPerUser int
	// Revocation says what a revocation reaches.
	Revocation string

	// HostSuffixes are the hosts that may replace {host} in the URLs: one that begins
	// with a dot matches every name below it, any other only that name.
	HostSuffixes []string
	// HostFrom is the parameter of an authorization response that names the account's
	// host; see [App.NamedHost].
	HostFrom string
	// RateLimitScope says which connections a 429 concerns.
	RateLimitScope RateLimitScope
	// RateLimit is the documented limit of the token endpoint.
	RateLimit string
	// ChecksClientFirst: the token endpoint checks the client before the grant, so that
	// a refused grant shows that it accepts the client.
	ChecksClientFirst bool

	// RefreshWithin: the provider refreshes an access token only within this time before
	// its end; 0: at any time. Exact Online's is 30 s.
	RefreshWithin time.Duration

	// RefreshKillsAccessToken: a refresh invalidates the old access token at once.
	RefreshKillsAccessToken bool

	// SecretAsUser: the client's secret is the user name of the Basic header, with
	// no password; the client id is not sent.
	SecretAsUser bool
	// JSONBody: the request's members are sent as a JSON object instead of a form.
	JSONBody bool
	// RefreshParams are members of the token requests beyond RFC 6749.
	RefreshParams map[string]string
	// RequestHeaders are headers of every request to the provider, by their canonical
	// names. {client_id} stands for the app's.
	RequestHeaders map[string]string

	// AuthParams are members of the authorization request beyond RFC 6749 and 7636.
	AuthParams map[string]string
	// ScopeSeparator separates the scopes of an authorization request; empty: a space
	// (RFC 6749 section 3.3).
	ScopeSeparator string
	// ScopesUnnamed are scopes that the provider grants without naming them in the
	// reply; one * stands for any text. openid and offline_access are always among them.
	ScopesUnnamed []string
	// ScopesImply names, for a granted scope, the narrower ones that it implies and that
	// the reply leaves out. One * on both sides stands for the same text: write_* implies
	// read_*.
	ScopesImply map[string][]string
	// ScopePrefixes may stand before a scope without changing it, in a request or a reply.
	ScopePrefixes []string
	// ScopesIgnoreCase: the case of a scope does not count.
	ScopesIgnoreCase bool
	// Issuer is the iss of its authorization responses (RFC 9207) and ID tokens; empty:
	// not known, and not compared.
	Issuer string
	// MCP is the URL of an MCP server, for which the tokens are; empty: they are for none.
	MCP string
	// IssuerSent: each authorization response has an iss; one without it is refused.
	IssuerSent bool
	// Account says where to find a new grant's account id.
	Account AccountSource

	// TokensUnder is the path of the object of a reply that has the tokens if the top
	// level has none: "authed_user", "data.token". Without it, the only object with an
	// access token is taken.
	TokensUnder string
	// MembersAt has the paths at which a reply has a member of RFC 6749 section 5.1
	// under another name: {"access_token": {"auth.key"}}. The first path that leads to a
	// value counts, and before the member's own name.
	MembersAt map[string][]string
	// LifetimeUnit is the unit of a reply's lifetimes. Zero: seconds; a number that is
	// much too large for them is read as milliseconds or as an instant.
	LifetimeUnit time.Duration

	Spellings       []Spelling      // the provider's own errors; the first match counts
	API             resource.Server // how the provider's API refuses tokens
	RequestIDHeader string          // of the provider's own request id: "intuit_tid"
	MetadataFields  []string        // members of the token reply to store
	AccountField    string          // name of the account id as customers know it: "portal id"
	RemoveAccess    string          // where a customer removes the access at the provider
	Notes           string          // facts that are not verified
	APIHosts        []string        // for which the access token is meant; as HostSuffixes
	Setup           Setup           // how an app is set up at the provider
	Evidence        []Evidence      // how its facts are known
}

// ServesToEnd reports whether, after an unknown outcome, the access token is used to
// its end before the refresh token is presented again: reuse would revoke it, and no
// refresh has ended it anyway.
func (e Entry) ServesToEnd() bool {
	return e.ReplayClass == perennial.ReplayReuseRevokes && !e.RefreshKillsAccessToken
}

// Rotation says whether a refresh gives a new refresh token. Empty: not known.
type Rotation string

// The values.
const (
	RotationAlways    Rotation = "always"
	RotationSometimes Rotation = "sometimes"
	RotationNever     Rotation = "never"
	RotationUnknown   Rotation = "unknown"
)

// Setup says how an app is set up at the provider, for whoever does so.
type Setup struct {
	Register     string `yaml:"register,omitempty" doc:"Where an app is registered: the address."`
	RedirectURIs string `yaml:"redirect_uris,omitempty" doc:"Which redirect URIs the provider accepts: https only, the exact text, localhost."`
	RefreshToken string `yaml:"refresh_token,omitempty" doc:"What it takes to get a refresh token: a scope, a parameter, a setting of the app."`
	Sandbox      string `yaml:"sandbox,omitempty" doc:"Where to try without a customer's data."`
}

// OpensBefore returns how long before an access token's end to refresh it at the
// earliest: it leaves a sixth of RefreshWithin for our clock and the request's way. Zero:
// at any time.
func (e Entry) OpensBefore() time.Duration { return e.RefreshWithin - e.RefreshWithin/6 }

// RateLimitScope says which connections a provider's 429 concerns.
type RateLimitScope string

// The scopes. If the scope is not documented, a 429 slows down only its own connection:
// one account over its limit must not stop the others.
const (
	ScopeConnection RateLimitScope = ""
	ScopeApp        RateLimitScope = "app"
	ScopeHost       RateLimitScope = "host" // the app's connections at that host
)

// Spelling is a provider's own way to express an outcome. Zero fields match anything;
// at least one is set. Without a status it matches no 429 and no 5xx, because what
// those say about the token is not reliable.
type Spelling struct {
	HTTPStatus int               `yaml:"http_status,omitempty" doc:"The HTTP status; any but 429 and 5xx if it is left out."`
	Code       string            `yaml:"code,omitempty" doc:"An error code of the reply; case, spaces, hyphens and the like do not count."`
	Contains   string            `yaml:"contains,omitempty" doc:"Part of what the reply says about the error, compared without case."`
	Outcome    perennial.Outcome `yaml:"outcome" enum:"revoked,misconfigured,rate_limited,too_early,busy,unavailable,unknown,rejected" doc:"What it means: revoked (the grant is dead), misconfigured (the app's client is wrong), rate_limited, too_early, busy (another request with the token is under way), unavailable (the token is not spent), unknown (it may be spent), rejected (anything else)."`
	// Fault says whose fault it is; empty: as the outcome and the code say. With
	// OutcomeMisconfigured, FaultClient says that the provider rejected the client's id
	// or secret, so that another secret may be accepted.
	Fault perennial.Fault `yaml:"fault,omitempty" enum:"grant,client,request,nobody" doc:"Whose fault it is, if the outcome and the code do not say so. client with misconfigured: the client's id or secret was rejected, and another secret may be accepted."`
}

// Evidence says how some facts about a provider are known.
type Evidence struct {
	Facts  []string `yaml:"facts" enum:"endpoints,rotation,replay,lifetime,idle_clock,hard_clock,refusal,wrong_client,rate_limit,account,revocation,scopes" doc:"Which facts."`
	By     string   `yaml:"by" enum:"provider,third_party,measured,not_documented" doc:"Who says so: the provider's own page, somebody else, an experiment, or nobody."`
	Source string   `yaml:"source,omitempty" doc:"The address of the page, or its title. The catalogue's own pages by the provider have an address."`
	Date   string   `yaml:"date" pattern:"^20[0-9]{2}-[0-1][0-9](-[0-3][0-9])?$" doc:"When it was looked up: 2026-11-28, or 2026-11."`
}

// App is one client registration at a provider, in one environment: an Entry with the
// configuration's settings.
type App struct {
	Name     string
	Provider Entry
	ClientID string
	// ClientSecrets are tried in order, until it is learnt which one the provider accepts;
	// the next one only if the provider rejected the client.
	ClientSecrets []perennial.Secret
	Scopes        []string
	Buffer        BufferProfile
	// MaxRefreshesPerSecond bounds the token requests of the whole fleet; 0: no bound.
	MaxRefreshesPerSecond float64
	// Pacers is how many pacer workflows refresh the healthy connections of a pooled
	// app; 0: each connection's own workflow does.
	Pacers int
	// Cadence is the cadence of new connections; empty: always.
	Cadence perennial.Cadence
	// Discovery says that the provider describes itself. Nothing can be presented before
	// its metadata have completed the entry; then Discovery is nil.
	Discovery *Discovery
	// PublicOnly: the provider's metadata named its endpoints, and no request goes to an
	// address outside the public Internet.
	PublicOnly bool
}

// Discovery is what the configuration says about an app whose provider describes itself.
// The metadata fill what Base leaves out; Own is laid over the result as in
// [Description.Over].
type Discovery struct {
	Base    Entry
	Own     Description
	Replace bool
}

// Secrets returns the client secrets in the order of the tries: at least one, which is
// empty for a public client.
func (a App) Secrets() []perennial.Secret {
	if len(a.ClientSecrets) == 0 {
		return []perennial.Secret{{}}
	}
	return a.ClientSecrets
}

// Prefer returns the app with the client secret of this digest first. A digest that none
// has changes nothing.
func (a App) Prefer(digest string) App {
	i := slices.IndexFunc(a.ClientSecrets, func(s perennial.Secret) bool { return s.Digest() == digest })
	if i > 0 {
		a.ClientSecrets = slices.Concat(a.ClientSecrets[i:i+1], a.ClientSecrets[:i], a.ClientSecrets[i+1:])
	}
	return a
}

// Reply is the result of one presentation of a refresh token. It holds the provider's
// body only if that may have tokens that could not be read.
type Reply struct {
	Outcome perennial.Outcome
	Tokens  perennial.TokenSet // with OutcomeRefreshed
	// Cut: the reply may have broken off before the end of a new refresh token. Tokens
	// then has none, and the presented one may be spent.
	Cut    bool
	Unread Unread // with OutcomeUnknown: a success that may have tokens; or none
	// AccountProblem says for an operator why the ID token of a code exchange is not for
	// this app. Then nothing may be stored for its Accounts.
	AccountProblem string
	// Accounts are those that a code exchange's reply names.
	Accounts []Choice

	Sent       bool            // at least one byte of the request may have left
	HTTPStatus int             // 0: no reply
	Code       string          // bounded, from the reply or our own: "timeout", "malformed_reply"
	Fault      perennial.Fault // whose fault it is that there are no tokens
	// Unclear: the provider refused, and did not say in words that we know whether the
	// grant, the client or the request is at fault.
	Unclear     bool
	Description string        // bounded and redacted
	RetryAfter  time.Duration // 0: none; otherwise at least 1 s, at most 24 h
	RequestID   string        // the provider's own
	Duration    time.Duration

	// CustomersClient: the client is the customer's own, so no refusal of it says anything
	// about the app.
	CustomersClient bool

	wrongClient bool // the provider rejected the client's id or secret
}

// judge takes over what the presentation came to.
func (r *Reply) judge(v verdict) {
	r.Outcome, r.Code, r.Fault, r.Unclear, r.wrongClient = v.outcome, v.code, v.fault, v.unclear, v.wrongClient
}

// Unread is a token endpoint's body that could not be read and may have tokens.
type Unread struct {
	Body  perennial.Secret // at most [maxUnread] bytes of it
	Whole bool             // it is all there, and arrived to its end
}
