package provider

import (
	"cmp"
	"maps"
	"net/http"
	pathpkg "path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
)

// Description is the written form of an [Entry]: a file of the catalogue, or the keys of
// an app in perennial.yaml. It changes only those members of an entry that it names. The
// tags hold what an editor shows (catalogue/schema.json).
type Description struct {
	Title      string   `yaml:"title,omitempty" doc:"The provider's name as customers know it."`
	Notes      string   `yaml:"notes,omitempty" doc:"Facts that are not verified, and traps."`
	AuthURL    string   `yaml:"auth_url,omitempty" doc:"The authorization endpoint (RFC 6749 section 3.1)."`
	TokenURL   string   `yaml:"token_url,omitempty" doc:"The token endpoint (RFC 6749 section 3.2). {host} stands for the account's own host; see hosts."`
	RefreshURL string   `yaml:"refresh_url,omitempty" doc:"The endpoint of refreshes, if it is another one than token_url; it is at the same host."`
	IntroURL   string   `yaml:"introspect_url,omitempty" doc:"The introspection endpoint (RFC 7662)."`
	RevokeURL  string   `yaml:"revoke_url,omitempty" doc:"The revocation endpoint (RFC 7009)."`
	Hosts      []string `yaml:"hosts,omitempty" doc:"What may stand for {host}: whole names. One that begins with a dot stands for the names below a domain of which the provider gives each account one."`
	HostFrom   string   `yaml:"host_from,omitempty" doc:"Parameter of the authorization response that names the account's host, as a name or an address: accounts-server. It is followed only to a host that stands in hosts as a whole name."`

	Renewal       string         `yaml:"renewal,omitempty" enum:"refresh_token,access_token,none" doc:"How an access token is renewed: by a refresh token (the default), by an exchange of the living access token itself (access_token; see exchange), or never (none): it is good until it is revoked, and looked at once a day."`
	Exchange      *TokenExchange `yaml:"exchange,omitempty" doc:"With renewal: access_token: the request that exchanges an access token for a longer one."`
	FirstExchange *TokenExchange `yaml:"first_exchange,omitempty" doc:"The same for the token of a consent, if that takes another request."`
	CheckURL      string         `yaml:"check_url,omitempty" doc:"With renewal: none: requested with the access token to see whether it is still good: 2xx if it is, 401 if it is not. Left out: the url of account."`

	Grant               string   `yaml:"grant,omitempty" enum:"authorization_code,client_credentials,jwt_bearer,installation" doc:"What an access token is asked for with: a consent's refresh token (authorization_code, the default); or what a customer gives instead: client_credentials (RFC 6749 section 4.4), a signed token in the request (jwt_bearer, RFC 7523) or in Authorization (installation, of a GitHub App)."`
	GrantType           string   `yaml:"grant_type,omitempty" doc:"With grant: client_credentials: the value of grant_type, if the provider has its own: account_credentials."`
	Credentials         []string `yaml:"credentials,omitempty" doc:"The names of what a customer gives with a grant that needs no consent. client_id, client_secret and private_key (with private_key_id) take the place of the app's; any other stands where {its_name} does: in token_url, refresh_params and assertion."`
	CredentialsOptional []string `yaml:"credentials_optional,omitempty" doc:"Those that may be left out; a value with a place for one that is not given is left out too."`

	AuthStyle      string            `yaml:"auth_style,omitempty" enum:"header,params,none,private_key_jwt,client_secret_jwt,tls_client_auth" doc:"How the client authenticates: with its secret in the Authorization header or as a member of the request (RFC 6749 section 2.3.1), not at all (none), by a token that its private key or its secret signs (RFC 7523), or by its certificate in TLS (RFC 8705)."`
	Assertion      *Assertion        `yaml:"assertion,omitempty" doc:"The signed tokens of private_key_jwt and client_secret_jwt, and of the grants jwt_bearer and installation."`
	SecretAsUser   *bool             `yaml:"secret_as_user,omitempty" doc:"The client secret is the user name of the Basic header, without a password; the client id is not sent."`
	JSONBody       *bool             `yaml:"json_body,omitempty" doc:"Token requests are JSON objects instead of forms."`
	RefreshParams  map[string]string `yaml:"refresh_params,omitempty" doc:"Members of the token requests beyond RFC 6749."`
	RequestHeaders map[string]string `yaml:"request_headers,omitempty" doc:"Headers of every request to the provider: token requests, revocation, introspection, and the look-up of an account. {client_id} stands for the app's. No secret may stand here, and no header that Perennial or HTTP itself sets."`
	AuthParams     map[string]string `yaml:"auth_params,omitempty" doc:"Members of the authorization request beyond RFC 6749 and 7636."`

	Rotation     string `yaml:"rotation,omitempty" enum:"always,sometimes,never,unknown" doc:"Whether a refresh gives a new refresh token. Left out: unknown. Whatever comes is stored."`
	ReplayClass  string `yaml:"replay_class,omitempty" enum:"reusable,grace,single_use,reuse_revokes,unknown" doc:"What the provider does if an old refresh token is presented again. Not documented: unknown."`
	ReplaySource string `yaml:"replay_source,omitempty" doc:"Where the replay class is documented, or that it is not."`
	GraceWindow  Span   `yaml:"grace_window,omitempty" doc:"For replay_class grace: how long an old refresh token may be presented again, from the first sending."`
	GraceReply   string `yaml:"grace_reply,omitempty" enum:"same_pair,new_pair" doc:"For replay_class grace: whether an old refresh token that is presented again within the window gets the same tokens again, or new ones. Not documented: as new_pair."`
	AfterGrace   string `yaml:"after_grace,omitempty" enum:"single_use,reuse_revokes" doc:"For replay_class grace: what it costs to present an old refresh token after the window. Not documented: as reuse_revokes."`
	RefreshKills *bool  `yaml:"refresh_kills_access_token,omitempty" doc:"A refresh ends the old access token at once."`
	ChecksClient *bool  `yaml:"checks_client_first,omitempty" doc:"The token endpoint checks the client before the grant, so that a refused grant shows that the client is right."`

	RefreshWithin   Span `yaml:"refresh_within,omitempty" doc:"The provider refreshes an access token only within this time before its end; left out: at any time."`
	DefaultLifetime Span `yaml:"default_lifetime,omitempty" doc:"Life of an access token whose reply names none."`
	IdleLifetime    Span `yaml:"idle_lifetime,omitempty" pattern:"^(none|[0-9]+d|([0-9]+(\\.[0-9]+)?(h|m|s|ms))+)$" doc:"Life of a refresh token that nobody uses. Left out, with evidence by the provider for idle_clock: there is no such limit. none: the app's settings at the provider turn it off."`
	GrantLifetime   Span `yaml:"grant_lifetime,omitempty" pattern:"^(none|[0-9]+d|([0-9]+(\\.[0-9]+)?(h|m|s|ms))+)$" doc:"Time from the consent to the end of the grant, which no refresh postpones. Left out, with evidence by the provider for hard_clock: there is no such end. none: the app's settings at the provider turn it off."`

	GrantsPerUser int    `yaml:"grants_per_user,omitempty" doc:"How many grants, or refresh tokens, a user may have for one client before the oldest ends without a word."`
	Revocation    string `yaml:"revocation,omitempty" doc:"What a revocation reaches: one token, the grant, all grants of the user, the installation."`

	ScopeSeparator string              `yaml:"scope_separator,omitempty" doc:"Separates the scopes of an authorization request; a space if it is left out (RFC 6749 section 3.3)."`
	ScopesUnnamed  []string            `yaml:"scopes_unnamed,omitempty" doc:"Scopes that the provider grants without naming them in its reply; one * stands for any text. openid and offline_access are always among them."`
	ScopesImply    map[string][]string `yaml:"scopes_imply,omitempty" doc:"For a granted scope, the narrower ones that it implies and that the reply leaves out. One * on both sides stands for the same text: write_* implies read_*."`
	ScopePrefixes  []string            `yaml:"scope_prefixes,omitempty" doc:"May stand before a scope without changing it, in a request or a reply."`
	ScopesNoCase   *bool               `yaml:"scopes_ignore_case,omitempty" doc:"The case of a scope does not count."`

	Issuer     string         `yaml:"issuer,omitempty" doc:"iss of the authorization responses (RFC 9207) and ID tokens, letter by letter. Without token_url or auth_style, what the issuer says about itself completes the description."`
	MCP        string         `yaml:"mcp,omitempty" doc:"The URL of an MCP server, which says where its authorization server is (RFC 9728), and for which the tokens are (RFC 8707)."`
	IssuerSent *bool          `yaml:"issuer_sent,omitempty" doc:"Each authorization response has an iss; one without it is refused."`
	Account    *AccountSource `yaml:"account,omitempty" doc:"Where a new grant's account id is found."`

	TokensUnder     string              `yaml:"tokens_under,omitempty" doc:"The path of the object of a reply that has the tokens if the top level has none: data.token. Left out: the only object with an access token."`
	MembersAt       map[string][]string `yaml:"members_at,omitempty" doc:"For a member of RFC 6749 section 5.1, the paths at which a reply has it under another name; the first that leads to a value counts, and before the member's own name."`
	LifetimeUnit    Span                `yaml:"lifetime_unit,omitempty" doc:"The unit of a reply's lifetimes, for example 1ms or 1m. Left out: seconds; a number that is much too large for them is read as milliseconds or as an instant."`
	MetadataFields  []string            `yaml:"metadata_fields,omitempty" doc:"Members of the token reply to store."`
	RemoveAccess    string              `yaml:"remove_access,omitempty" doc:"Where a customer removes the access at the provider: an address, or the way through its menus."`
	AccountField    string              `yaml:"account_field,omitempty" doc:"The account id as customers call it: portal id."`
	RequestIDHeader string              `yaml:"request_id_header,omitempty" doc:"The header with the provider's own request id."`
	RateLimitScope  string              `yaml:"rate_limit_scope,omitempty" enum:"connection,app,host" doc:"Which connections a 429 concerns. Not documented: connection."`
	RateLimit       string              `yaml:"rate_limit,omitempty" doc:"The documented limit of the token endpoint: 10 access tokens in 10 minutes for each refresh token."`
	Spellings       []Spelling          `yaml:"spellings,omitempty" doc:"The provider's own errors; the first match counts."`
	APISpellings    []resource.Spelling `yaml:"api_spellings,omitempty" doc:"How the provider's API, beyond RFC 6750, says that it refuses a token; the first match counts."`
	ReadPosts       []string            `yaml:"read_posts,omitempty" doc:"Paths of its API to which a POST changes nothing, and may be sent twice; * stands for one segment."`
	APIHosts        []string            `yaml:"api_hosts,omitempty" doc:"The hosts of the provider's API, for which the access token is meant: whole names, or, with a dot in front, a domain in which each account has a name."`
	Setup           *Setup              `yaml:"setup,omitempty" doc:"How an app is set up at the provider."`
	Evidence        []Evidence          `yaml:"evidence,omitempty" doc:"How the facts are known."`
}

// Span is a duration as people write it: "30s", "30m", "2400h" or "90d".
type Span string

const spanForm = `"30s", "30m" or "90d"`

// duration returns the span, which must be above zero.
func (s Span) duration() (d time.Duration, ok bool) {
	if days, found := strings.CutSuffix(string(s), "d"); found {
		n, err := strconv.ParseInt(days, 10, 32)
		return time.Duration(n) * day, err == nil && n > 0 && n <= maxDays
	}
	d, err := time.ParseDuration(string(s))
	return d, err == nil && d > 0
}

// Duration returns the span; 0 if it is left out or wrong.
func (s Span) Duration() time.Duration {
	d, _ := s.duration()
	return d
}

// maxDays is as many days as a duration can hold.
const maxDays = int64(1<<63-1) / int64(day)

func spanOf(d time.Duration) Span {
	if d == 0 {
		return ""
	}
	if d%day == 0 {
		return Span(strconv.FormatInt(int64(d/day), 10) + "d")
	}
	s := d.String()
	s = strings.TrimSuffix(s, "m0s") + cut(s, "m0s", "m")
	return Span(strings.TrimSuffix(s, "h0m") + cut(s, "h0m", "h"))
}

// cut returns unit if s ends with suffix, else "".
func cut(s, suffix, unit string) string {
	if strings.HasSuffix(s, suffix) {
		return unit
	}
	return ""
}

// Report takes a problem with the value of a key ("account.url"). The text follows the
// key in a sentence and repeats no value.
type Report func(key, text string)

// Over returns the entry with the description laid over it: the description's spellings
// come before the entry's, maps are merged, and everything else that it names takes the
// place of the entry's. With replace, spellings and maps do so too.
func (d Description) Over(e Entry, replace bool, report Report) Entry {
	o := overlay{d: d, e: &e, replace: replace, report: report}
	o.endpoints()
	o.client()
	o.replay()
	o.grantOfCredentials()
	o.renewal()
	o.clocks()
	o.grant()
	o.reply()
	o.api()
	o.knowledge()
	o.evidence()
	return e
}

// overlay lays one description over one entry.
type overlay struct {
	d       Description
	e       *Entry
	replace bool
	report  Report
}

// reserved are the members of requests that Perennial itself sets. A description that
// could set them could send a secret or a code under another name, or end the protection
// of the exchange.
var reserved = []string{"grant_type", "refresh_token", "code", "client_id", "client_secret", "redirect_uri", "code_verifier",
	"state", "code_challenge", "code_challenge_method", "client_assertion", "client_assertion_type", "assertion"}

// members merges the members of a request.
func (o overlay) members(key string, to *map[string]string, from map[string]string) {
	for _, name := range sortedKeys(from) {
		if slices.Contains(reserved, strings.ToLower(strings.TrimSpace(name))) {
			o.report(key+"."+name, "is set by Perennial itself: leave it out")
		}
	}
	merge(to, from, o.replace)
}

func (o overlay) replay() {
	if class := perennial.ReplayClass(o.d.ReplayClass); class != "" {
		o.oneOf("replay_class", o.d.ReplayClass, texts(perennial.ReplayClasses))
		o.e.ReplayClass, o.e.ReplaySource = class, "the configuration"
	}
	o.e.ReplaySource = cmp.Or(o.d.ReplaySource, o.e.ReplaySource)
	o.grace()
	setBool(&o.e.RefreshKillsAccessToken, o.d.RefreshKills)
	setBool(&o.e.ChecksClientFirst, o.d.ChecksClient)
}

func (o overlay) grace() {
	o.span("grace_window", o.d.GraceWindow, &o.e.GraceWindow)
	if o.d.GraceReply != "" {
		o.oneOf("grace_reply", o.d.GraceReply, enumOf[Description]("GraceReply"))
		o.e.GraceReply = GraceReply(o.d.GraceReply)
	}
	if o.d.AfterGrace != "" {
		o.oneOf("after_grace", o.d.AfterGrace, enumOf[Description]("AfterGrace"))
		o.e.AfterGrace = perennial.ReplayClass(o.d.AfterGrace)
	}
}

// grant reads what a new grant is checked by.
func (o overlay) grant() {
	o.e.ScopeSeparator = cmp.Or(o.d.ScopeSeparator, o.e.ScopeSeparator)
	o.scopes()
	o.e.Issuer, o.e.MCP = cmp.Or(o.d.Issuer, o.e.Issuer), cmp.Or(o.d.MCP, o.e.MCP)
	if o.d.MCP != "" {
		o.url("mcp", o.d.MCP, nil)
	}
	setBool(&o.e.IssuerSent, o.d.IssuerSent)
	o.e.AccountField = cmp.Or(o.d.AccountField, o.e.AccountField)
	if o.d.Account == nil {
		return
	}
	o.e.Account = *o.d.Account
	o.oneOf("account.from", string(o.e.Account.From), texts(AccountsFrom))
	for key, address := range map[string]string{"account.url": o.e.Account.URL, "account.sandbox_url": o.e.Account.SandboxURL} {
		if address != "" {
			o.url(key, strings.ReplaceAll(address, accountPlaceholder, "x"), o.e.HostSuffixes)
		}
	}
}

func (o overlay) scopes() {
	setList(&o.e.ScopesUnnamed, o.d.ScopesUnnamed)
	setList(&o.e.ScopePrefixes, o.d.ScopePrefixes)
	setBool(&o.e.ScopesIgnoreCase, o.d.ScopesNoCase)
	for _, wide := range sortedKeys(o.d.ScopesImply) {
		stars := strings.Count(wide, "*")
		for _, narrow := range append(o.d.ScopesImply[wide], wide) {
			if n := strings.Count(narrow, "*"); n > 1 || n > stars {
				o.report("scopes_imply."+wide, "takes one * on each side at most, and on the right side only with one on the left")
				break
			}
		}
	}
	merge(&o.e.ScopesImply, o.d.ScopesImply, o.replace)
}

// merge lays a map over another one, or puts it in its place.
func merge[V any](to *map[string]V, from map[string]V, replace bool) {
	switch {
	case from == nil:
	case replace || *to == nil:
		*to = from
	default:
		*to = maps.Clone(*to)
		maps.Copy(*to, from)
	}
}

// reply reads how replies are read.
func (o overlay) reply() {
	o.e.Title, o.e.Notes = cmp.Or(o.d.Title, o.e.Title), cmp.Or(o.d.Notes, o.e.Notes)
	o.e.RemoveAccess = cmp.Or(o.d.RemoveAccess, o.e.RemoveAccess)
	o.e.TokensUnder = cmp.Or(o.d.TokensUnder, o.e.TokensUnder)
	merge(&o.e.MembersAt, o.d.MembersAt, o.replace)
	o.span("lifetime_unit", o.d.LifetimeUnit, &o.e.LifetimeUnit)
	o.e.RequestIDHeader = cmp.Or(o.d.RequestIDHeader, o.e.RequestIDHeader)
	setList(&o.e.MetadataFields, o.d.MetadataFields)
	switch scope := o.d.RateLimitScope; scope {
	case "":
	case "connection":
		o.e.RateLimitScope = ScopeConnection
	default:
		o.oneOf("rate_limit_scope", scope, []string{"connection", string(ScopeApp), string(ScopeHost)})
		o.e.RateLimitScope = RateLimitScope(scope)
	}
	if o.d.Spellings == nil {
		return
	}
	for i, s := range o.d.Spellings {
		o.spelling("spellings."+strconv.Itoa(i), s)
	}
	if o.replace {
		o.e.Spellings = nil
	}
	o.e.Spellings = slices.Concat(o.d.Spellings, o.e.Spellings)
}

func (o overlay) spelling(at string, s Spelling) {
	o.oneOf(at+".outcome", string(s.Outcome), enumOf[Spelling]("Outcome"))
	if s.Fault != "" {
		o.oneOf(at+".fault", string(s.Fault), enumOf[Spelling]("Fault"))
	}
	switch {
	case s.Code == "" && s.Contains == "":
		o.report(at, "needs a code or contains: a status alone says nothing about the token")
	case s.Code != "" && codeOf(s.Code) != s.Code && !numberCode.MatchString(s.Code):
		o.report(at+".code", "can never match: a code is a number, or has letters, spaces and _ - . only, and at most 48 of them; use contains")
	case s.HTTPStatus != 0 && (s.HTTPStatus < 200 || s.HTTPStatus > 599):
		o.report(at+".http_status", "must be from 200 to 599")
	}
}

// api reads how the provider's API refuses tokens.
func (o overlay) api() {
	for i, s := range o.d.APISpellings {
		at := "api_spellings." + strconv.Itoa(i)
		o.oneOf(at+".means", string(s.Means), enumOf[resource.Spelling]("Means"))
		words := s.Code + s.Contains
		switch status := s.HTTPStatus; {
		case status != 0 && (status < 200 || status > 499 || status >= 300 && status < 400):
			o.report(at+".http_status", "must be of a success or a client error: from 200 to 299, or from 400 to 499")
		case words == "" && status < 400, words == "" && status == http.StatusUnauthorized:
			o.report(at, "needs a code or contains: without them it matches every reply of that status")
		case s.Means == resource.UnauthorizedNotPermitted && status != 0 && status != http.StatusUnauthorized:
			o.report(at+".means", "must be token: any other status than 401 goes to the caller as it is")
		}
	}
	for i, pattern := range o.d.ReadPosts {
		if _, err := pathpkg.Match(pattern, ""); err != nil || !strings.HasPrefix(pattern, "/") {
			o.report("read_posts."+strconv.Itoa(i), "must be a path that begins with a slash; * stands for one segment")
		}
	}
	setList(&o.e.API.ReadPosts, o.d.ReadPosts)
	if o.d.APISpellings == nil {
		return
	}
	if o.replace {
		o.e.API.Spellings = nil
	}
	o.e.API.Spellings = slices.Concat(o.d.APISpellings, o.e.API.Spellings)
}

// evidence takes the place of the entry's: what somebody else found out says nothing
// about other facts.
func (o overlay) evidence() {
	for i, found := range o.d.Evidence {
		at := "evidence." + strconv.Itoa(i)
		for j, fact := range found.Facts {
			o.oneOf(at+".facts."+strconv.Itoa(j), fact, enumOf[Evidence]("Facts"))
		}
		o.oneOf(at+".by", found.By, enumOf[Evidence]("By"))
		switch {
		case len(found.Facts) == 0:
			o.report(at+".facts", "must name at least one fact")
		case !isDate(found.Date):
			o.report(at+".date", "must say when it was looked up: 2026-11-28, or 2026-11")
		case found.By != "not_documented" && found.Source == "":
			o.report(at+".source", "is needed: the address of the page, or its title")
		}
	}
	setList(&o.e.Evidence, o.d.Evidence)
}

// isDate reports whether s is a day or a month.
func isDate(s string) bool {
	_, day := time.Parse(time.DateOnly, s)
	_, month := time.Parse("2006-01", s)
	return (day == nil || month == nil) && dateForm.MatchString(s)
}

var dateForm = regexp.MustCompile(tagOf[Evidence]("Date", "pattern"))

// enumOf returns the values that a member may have.
func enumOf[T any](member string) []string { return strings.Split(tagOf[T](member, "enum"), ",") }

func tagOf[T any](member, tag string) string {
	field, _ := reflect.TypeFor[T]().FieldByName(member)
	return field.Tag.Get(tag)
}

func (o overlay) oneOf(key, value string, allowed []string) {
	if !slices.Contains(allowed, value) {
		o.report(key, "must be one of "+strings.Join(allowed, ", ")+strictyaml.DidYouMean(value, allowed))
	}
}

func texts[T ~string](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

func setBool(to *bool, from *bool) {
	if from != nil {
		*to = *from
	}
}

func setList[T any](to *[]T, from []T) {
	if from != nil {
		*to = from
	}
}
