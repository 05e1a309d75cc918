package api

import (
	"context"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// Connection is a connection as the API shows it. It holds no token. Times are the
// database's clock; unknown ones are left out.
type Connection struct {
	_           struct{}             `additionalProperties:"true"`
	ID          string               `json:"id" example:"con_0193a6e0-0000-7000-8000-000000000000" doc:"Stable for ever: a reconnect keeps it"`
	TenantID    string               `json:"tenant_id" doc:"The customer of the product that it belongs to"`
	App         string               `json:"app" doc:"The client registration, environment included"`
	Provider    string               `json:"provider" example:"hubspot"`
	Host        string               `json:"host,omitempty" doc:"Of its token endpoint"`
	AccountID   string               `json:"account_id" doc:"At the provider: portal id, realm id"`
	Status      perennial.Status     `json:"status" enum:"active,reconnect_required,paused,disconnected"`
	Reason      perennial.Reason     `json:"reason,omitempty" doc:"Of reconnect_required"`
	Health      perennial.Health     `json:"health,omitempty" enum:"healthy,failing" doc:"Of an active one, and absent from any other; failing is never final"`
	FailingCode string               `json:"failing_code,omitempty"`
	Cadence     perennial.Cadence    `json:"cadence,omitempty" enum:"always,on_use"`
	Words       perennial.StatusText `json:"words" doc:"For the customer"`
	Generation  int64                `json:"generation" doc:"Grows by one with every stored token set"`
	TokenType   string               `json:"token_type" doc:"Always Bearer (RFC 6750)"`
	Scopes      []string             `json:"scopes,omitempty" nullable:"false"`
	Missing     []string             `json:"missing_scopes,omitempty" nullable:"false" doc:"Of an active one: permissions that the app requires, that the grant had, and that a later reply of the provider no longer named. It is refreshed all the same; a new consent gives them back"`
	Metadata    map[string]string    `json:"metadata,omitempty" doc:"Realm, instance URL, API domain"`
	Revocation  perennial.Revocation `json:"revocation,omitempty" enum:"done,failed,unsupported,none" doc:"After a disconnect: what became of the grant at the provider (RFC 7009)"`

	FailingSince          time.Time `json:"failing_since,omitzero"`
	ExpiresAt             time.Time `json:"expires_at,omitzero" doc:"Of the access token"`
	RefreshTokenExpiresAt time.Time `json:"refresh_token_expires_at,omitzero"`
	GrantExpiresAt        time.Time `json:"grant_expires_at,omitzero"`
	NextRefreshAt         time.Time `json:"next_refresh_at,omitzero" doc:"Of an active one"`
	LastRefreshedAt       time.Time `json:"last_refreshed_at,omitzero"`
	LastUsedAt            time.Time `json:"last_used_at,omitzero" doc:"To the hour"`
	LastUnauthorizedAt    time.Time `json:"last_unauthorized_at,omitzero"`
	RefreshCount          int64     `json:"refresh_count"`
	FailureCount          int       `json:"failure_count" doc:"Failed attempts in a row"`
	CreatedAt             time.Time `json:"created_at"`
	UpdatedAt             time.Time `json:"updated_at"`
}

func (a *API) show(c perennial.Connection) Connection {
	c = c.WithoutStale()
	return Connection{ID: c.ID, TenantID: c.TenantID, App: c.App, Provider: c.Provider, Host: c.Host, AccountID: c.AccountID, Status: c.Status, Reason: c.Reason, Health: c.Health,
		FailingCode: c.FailingCode, Cadence: c.Cadence, Words: c.Words(a.title(c)), Generation: c.Generation,
		TokenType: perennial.TokenTypeBearer, Scopes: c.Scopes, Missing: c.MissingScopes, Metadata: c.Metadata, FailingSince: c.FailingSince, ExpiresAt: c.ExpiresAt,
		RefreshTokenExpiresAt: c.RefreshTokenExpiresAt, GrantExpiresAt: c.GrantExpiresAt, NextRefreshAt: c.NextRefreshAt, LastRefreshedAt: c.LastRefreshedAt,
		LastUsedAt: c.LastUsedAt, LastUnauthorizedAt: c.LastUnauthorizedAt, RefreshCount: c.RefreshCount, FailureCount: c.FailureCount,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt}
}

func (a *API) title(c perennial.Connection) string {
	if app, ok := a.app(c.App); ok {
		return app.Provider.Title
	}
	return c.Provider
}

// ConnectionPath is a connection's id in a path.
type ConnectionPath struct {
	ID string `path:"id" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$" doc:"The connection"`
}

type connectionOutput struct{ Body Connection }

// The bodies that name a new connection. Their patterns exclude control characters: no
// name has them, and not every database takes them.
type newConnection struct {
	App       string `json:"app" minLength:"1" maxLength:"100" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]+$" doc:"Of the configuration, that got the grant"`
	AccountID string `json:"account_id" minLength:"1" maxLength:"255" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]+$" doc:"The account's id at the provider (portal id, realm id)"`
	Host      string `json:"host,omitempty" maxLength:"255" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"The account's own host, where the provider has one for each"`
	// Exactly one of the two.
	Tokens      *TokenReply  `json:"tokens,omitempty"`
	Credentials *Credentials `json:"credentials,omitempty"`
}

type newTokens struct {
	AccountID   string       `json:"account_id" minLength:"1" maxLength:"255" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]+$" doc:"The account that gave the new consent; it must be the connection's own"`
	Tokens      *TokenReply  `json:"tokens,omitempty"`
	Credentials *Credentials `json:"credentials,omitempty"`
}

const connectionsPath = "/v1/connections"

func (a *API) registerConnections() {
	const tag = "connections"
	at := func(rest string) string { return connectionsPath + "/{id}" + rest }
	register(a, operation{id: "listConnections", method: http.MethodGet, path: connectionsPath, tag: tag, scopes: reading, tenant: listsAcross,
		summary: "List connections", description: "In the order of their ids, which is that in which they were made. A value that no connection can have is refused."}, a.listConnections)
	register(a, operation{id: "createConnection", method: http.MethodPost, path: connectionsPath, tag: tag, scopes: changing, writes: true,
		summary:     "Store a new grant and keep it alive",
		description: "An account that is connected already is updated in place; one that was disconnected is revived under its id. Give an Idempotency-Key: tokens that are stored a second time may be older than those that they replace.\n\nAn app whose provider asks for no consent takes `credentials` in place of `tokens`: they are presented at once. 422 says that the provider refuses them; 503 that it gave no answer, or that the app's own client is refused. Nothing is stored then."}, a.createConnection)
	register(a, operation{id: "getConnection", method: http.MethodGet, path: at(""), tag: tag, scopes: reading, summary: "Show one connection"}, a.getConnection)
	register(a, operation{id: "replaceTokens", method: http.MethodPut, path: at("/tokens"), tag: tag, scopes: changing, writes: true,
		summary:     "Store a new grant of a connection's own account (reconnect)",
		description: "Another account is refused with `account_mismatch`, and nothing is changed. Give an Idempotency-Key, as for a new connection. `credentials` in place of `tokens` replace those that the provider no longer accepts."}, a.replaceTokens)
	register(a, operation{id: "pauseConnection", method: http.MethodPost, path: at("/pause"), tag: tag, scopes: changing, writes: true, repeatable: true,
		summary: "Stop refreshing", description: "The refresh token is still kept from expiring unused."}, changeStatus(a, a.Connections.Pause))
	register(a, operation{id: "resumeConnection", method: http.MethodPost, path: at("/resume"), tag: tag, scopes: changing, writes: true, repeatable: true,
		summary: "Make a paused connection active again"}, changeStatus(a, a.Connections.Resume))
	register(a, operation{id: "setCadence", method: http.MethodPut, path: at("/cadence"), tag: tag, scopes: changing, writes: true, repeatable: true,
		summary: "Keep a token valid always, or only while the connection is used"}, a.setCadence)
	register(a, operation{id: "disconnectConnection", method: http.MethodPost, path: at("/disconnect"), tag: tag, scopes: changing, writes: true, repeatable: true,
		summary:     "End a connection",
		description: "Its tokens are wiped, and the grant is revoked at the provider where it has an endpoint for that (RFC 7009); `revocation` says what came of it. Connecting the account again revives the id."}, a.disconnect)
	register(a, operation{id: "listAttempts", method: http.MethodGet, path: at("/attempts"), tag: tag, scopes: reading,
		summary: "List a connection's refresh attempts, newest first"}, a.listAttempts)
}

// own reads a connection that the caller reaches. Any other is not found.
func (a *API) own(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error) {
	c, _, err := a.Store.Get(ctx, access, id)
	return c, err
}

type listConnectionsInput struct {
	Page
	Status   string `query:"status" enum:"active,reconnect_required,paused,disconnected"`
	Health   string `query:"health" enum:"healthy,failing" doc:"Of active connections"`
	Provider string `query:"provider" maxLength:"100" doc:"Of the catalogue: hubspot. Another is refused unless the tenant has a connection of it"`
	App      string `query:"app" maxLength:"100" doc:"Of the configuration. Another is refused unless the tenant has a connection of it"`
}

type listConnectionsOutput struct {
	Body struct {
		_           struct{}     `additionalProperties:"true"`
		Connections []Connection `json:"connections" nullable:"false"`
		NextCursor  string       `json:"next_cursor,omitempty" doc:"Of the next page; absent on the last"`
	}
}

// filter asks for one connection more than the page has.
func (in *listConnectionsInput) filter() store.Filter {
	return store.Filter{Status: perennial.Status(in.Status), Health: perennial.Health(in.Health), Provider: in.Provider, App: in.App, Limit: in.Limit + 1}
}

func (a *API) listConnections(ctx context.Context, access perennial.Access, in *listConnectionsInput) (*listConnectionsOutput, error) {
	f := in.filter()
	if err := in.readCursor(&f.After); err != nil {
		return nil, err
	}
	if f.Health != "" && f.Status != "" && f.Status != perennial.StatusActive {
		return nil, badFilter("health", "applies to active connections only: leave status out")
	}
	rows, err := a.Store.List(ctx, access, f)
	if err == nil && len(rows) == 0 {
		err = a.knownNames(ctx, access, in)
	}
	if err != nil {
		return nil, err
	}
	out := &listConnectionsOutput{}
	out.Body.Connections = []Connection{}
	rows, out.Body.NextCursor = cut(rows, in.Limit, func(c perennial.Connection) any { return c.ID })
	for _, c := range rows {
		out.Body.Connections = append(out.Body.Connections, a.show(c))
	}
	return out, nil
}

// knownNames refuses an app or a provider that is neither configured nor in any row of
// the tenant: an empty list would read as "there are none".
func (a *API) knownNames(ctx context.Context, access perennial.Access, in *listConnectionsInput) error {
	_, configured := a.reachedApp(access, in.App)
	_, catalogued := provider.Lookup(in.Provider)
	for _, app := range a.Apps {
		catalogued = catalogued || app.Provider.Name == in.Provider
	}
	for _, name := range []struct {
		parameter, value string
		known            bool
		rows             store.Filter
		says             string
	}{
		{"app", in.App, configured, store.Filter{App: in.App, Limit: 1}, "is not an app of the configuration"},
		{"provider", in.Provider, catalogued, store.Filter{Provider: in.Provider, Limit: 1}, "is not in the catalogue"},
	} {
		if name.value == "" || name.known {
			continue
		}
		rows, err := a.Store.List(ctx, access, name.rows)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return badFilter(name.parameter, name.says)
		}
	}
	return nil
}

func badFilter(parameter, says string) *Problem {
	p := problem(perennial.CodeInvalid, "The filter %s %s.", parameter, says)
	p.Errors = []wire.Invalid{{Location: "query." + parameter, Message: says}}
	return p
}

func (a *API) getConnection(ctx context.Context, access perennial.Access, in *ConnectionPath) (*connectionOutput, error) {
	c, err := a.own(ctx, access, in.ID)
	if err != nil {
		return nil, err
	}
	return &connectionOutput{a.show(c)}, nil
}

// grant returns a grant of a tenant whose tokens are not read yet.
func (b newConnection) grant(tenant string) connect.Grant {
	return connect.Grant{Tenant: tenant, App: b.App, Account: b.AccountID, Host: b.Host}
}

// stored returns the answer for a row that was written. If only the signal to the
// workflow failed, that is a success all the same: only the row counts, and the sweep
// makes the workflow read it. If the caller repeated the request, its tokens might be
// older than the row's by then.
func (a *API) stored(c perennial.Connection, err error) (*connectionOutput, error) {
	if err != nil && (c.ID == "" || perennial.CodeOf(err) != perennial.CodeUnavailable) {
		return nil, err
	}
	return &connectionOutput{a.show(c)}, nil
}

func (a *API) createConnection(ctx context.Context, access perennial.Access, in *struct{ Body newConnection }) (*connectionOutput, error) {
	tenant, err := access.OneTenant()
	if err != nil {
		return nil, err
	}
	g, err := a.withBody(access, in.Body.grant(tenant), in.Body.Tokens, in.Body.Credentials)
	if err != nil {
		return nil, err
	}
	return a.stored(a.Connections.Connect(ctx, access, g))
}

// grant returns a grant of a connection whose tokens are not read yet.
func (b newTokens) grant(c perennial.Connection) connect.Grant {
	return connect.Grant{Tenant: c.TenantID, App: c.App, Account: b.AccountID}
}

type replaceTokensInput struct {
	ConnectionPath
	Body newTokens
}

func (a *API) replaceTokens(ctx context.Context, access perennial.Access, in *replaceTokensInput) (*connectionOutput, error) {
	c, err := a.own(ctx, access, in.ID)
	if err != nil {
		return nil, err
	}
	g, err := a.withBody(access, in.Body.grant(c), in.Body.Tokens, in.Body.Credentials)
	if err != nil {
		return nil, err
	}
	return a.stored(a.Connections.Reconnect(ctx, access, c.ID, g))
}

// changeStatus returns the handler of a change of status.
func changeStatus(a *API, to func(context.Context, perennial.Access, string) (perennial.Connection, error)) func(context.Context, perennial.Access, *ConnectionPath) (*connectionOutput, error) {
	return func(ctx context.Context, access perennial.Access, in *ConnectionPath) (*connectionOutput, error) {
		return a.stored(to(ctx, access, in.ID))
	}
}

type cadenceInput struct {
	ConnectionPath
	Body struct {
		Cadence perennial.Cadence `json:"cadence" enum:"always,on_use"`
	}
}

func (a *API) setCadence(ctx context.Context, access perennial.Access, in *cadenceInput) (*connectionOutput, error) {
	c, err := a.Connections.SetCadence(ctx, access, in.ID, in.Body.Cadence)
	if err != nil && c.ID != "" { // the row is written; the workflow reads it at its next wake
		err = nil
	}
	return a.stored(c, err)
}

func (a *API) disconnect(ctx context.Context, access perennial.Access, in *ConnectionPath) (*connectionOutput, error) {
	c, revocation, err := a.Disconnects.Disconnect(ctx, access, in.ID)
	out, err := a.stored(c, err)
	if out != nil {
		out.Body.Revocation = revocation
	}
	return out, err
}

// Attempt is one presentation of a refresh token to a token endpoint.
type Attempt struct {
	_          struct{}          `additionalProperties:"true"`
	ID         string            `json:"id"`
	Generation int64             `json:"generation" doc:"That it set out to replace"`
	Trigger    perennial.Trigger `json:"trigger"`
	Outcome    perennial.Outcome `json:"outcome"`
	ErrorCode  string            `json:"error_code,omitempty"`
	HTTPStatus int               `json:"http_status,omitempty"`
	RetryAfter float64           `json:"retry_after,omitempty" doc:"Seconds"`
	Duration   float64           `json:"duration" doc:"Seconds"`
	LifeLeft   float64           `json:"life_left" doc:"Seconds, of the access token at the start; negative: it had expired"`
	Lateness   float64           `json:"lateness" doc:"Seconds between the due time and the start"`
	Retries    int               `json:"retries" doc:"Failed attempts before this one"`
	TraceID    string            `json:"trace_id,omitempty"`
	RequestID  string            `json:"request_id,omitempty" doc:"The provider's own"`
	StartedAt  time.Time         `json:"started_at"`
}

type listAttemptsInput struct {
	ConnectionPath
	Page
}

type listAttemptsOutput struct {
	Body struct {
		_          struct{}  `additionalProperties:"true"`
		Attempts   []Attempt `json:"attempts" nullable:"false"`
		NextCursor string    `json:"next_cursor,omitempty"`
	}
}

type attemptCursor struct {
	StartedAt time.Time
	ID        string
}

func (a *API) listAttempts(ctx context.Context, access perennial.Access, in *listAttemptsInput) (*listAttemptsOutput, error) {
	var after attemptCursor
	if err := in.readCursor(&after); err != nil {
		return nil, err
	}
	if _, err := a.own(ctx, access, in.ID); err != nil {
		return nil, err
	}
	rows, err := a.Store.AttemptsAfter(ctx, access, in.ID, after.StartedAt, after.ID, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listAttemptsOutput{}
	out.Body.Attempts = []Attempt{}
	rows, out.Body.NextCursor = cut(rows, in.Limit, func(x perennial.Attempt) any { return attemptCursor{x.StartedAt, x.ID} })
	for _, x := range rows {
		out.Body.Attempts = append(out.Body.Attempts, showAttempt(x))
	}
	return out, nil
}

func showAttempt(x perennial.Attempt) Attempt {
	return Attempt{ID: x.ID, Generation: x.Generation, Trigger: x.Trigger, Outcome: x.Outcome, ErrorCode: x.ErrorCode,
		HTTPStatus: x.HTTPStatus, RetryAfter: x.RetryAfter.Seconds(), Duration: x.Duration.Seconds(), LifeLeft: x.LifeLeft.Seconds(),
		Lateness: x.Lateness.Seconds(), Retries: x.Retries, TraceID: x.TraceID, RequestID: x.RequestID, StartedAt: x.StartedAt}
}
