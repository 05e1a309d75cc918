package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
)

// Store is what the service needs of store.Store. Writes are guarded; a write whose
// guard no longer matches fails with [perennial.CodeConflict].
type Store interface {
	Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	Now(ctx context.Context) (time.Time, error)
	FindByAccount(ctx context.Context, access perennial.Access, app, account string) (perennial.Connection, error)
	AccountInUse(ctx context.Context, app, account string) (bool, error)
	ClientSecret(ctx context.Context, app string) (store.ClientSecret, error)
	AppIncidents(ctx context.Context, app string) (store.AppState, error)
	ReserveSlot(ctx context.Context, app, host string, rate float64, patience time.Duration) (store.Admission, error)
	Insert(ctx context.Context, access perennial.Access, c perennial.Connection, w store.TokenWrite) (perennial.Connection, error)
	ReplaceTokens(ctx context.Context, access perennial.Access, id string, from perennial.Status, generation int64, w store.TokenWrite) (perennial.Connection, error)
	SetCadence(ctx context.Context, access perennial.Access, id string, cadence perennial.Cadence) (perennial.Connection, error)
	GiveUpSetAside(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error)
	EndBackoff(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error)
	SetStatus(ctx context.Context, access perennial.Access, id string, from []perennial.Status, generation int64, to perennial.Status, reason perennial.Reason) (perennial.Connection, error)
}

// Workflows signals a connection's workflow to read its row; see [Temporal].
type Workflows interface {
	// Signal signals the workflow and starts it if it is not running.
	Signal(ctx context.Context, c perennial.Connection, signal string) error
}

// Config holds the service's dependencies. All but Presenter and Log are required.
type Config struct {
	Store     Store
	Apps      refresh.Apps
	Sealer    refresh.Sealer
	Workflows Workflows
	// Presenter asks providers for the first access token of credentials:
	// provider.Client in production. Without it no credentials are taken.
	Presenter refresh.Presenter
	Log       *slog.Logger // Defaults to discarding.
}

// Service changes connections. It is safe for concurrent use by many processes.
type Service struct{ Config }

// preferred returns the app with the client secret first that its provider accepts, as
// far as refreshes have learnt it. Without an answer the configured order counts.
func (s *Service) preferred(ctx context.Context, app provider.App) provider.App {
	if len(app.ClientSecrets) < 2 {
		return app
	}
	known, err := s.Store.ClientSecret(ctx, app.Name)
	if err != nil {
		s.Log.Warn("it is not known which client secret is accepted: they are tried in their order", "app", app.Name, "error", err)
	}
	return app.Prefer(known.Digest)
}

// New returns a service.
func New(c Config) *Service {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{c}
}

// Grant is the result of a consent.
type Grant struct {
	Tenant, App, Account string
	Host                 string // the host of the account's token endpoint, if each account has its own
	Tokens               perennial.TokenSet
	// Credentials are what the customer gave in place of a consent: a JSON object. With
	// them the tokens are asked for here, and Tokens must be empty.
	Credentials perennial.Secret
	// ObtainedAt is when the token reply was requested. Zero: not known; the connection
	// is then refreshed at once.
	ObtainedAt time.Time
	// Exchanged: this program got the tokens from the provider itself. Otherwise they are
	// a caller's, and unproven until their first refresh.
	Exchanged bool
}

// guardTries bounds the tries of a write whose guard failed, each on the row as it then
// is. Each failure means that another write succeeded.
const guardTries = 5

// Connect stores a grant of the tenant that it names. An account that is connected already is updated in place; a
// disconnected one is revived under the same id.
//
// The stored tokens are durable when Connect returns, even with an error of code
// unavailable: then the row is written, but the signal to the workflow failed.
func (s *Service) Connect(ctx context.Context, access perennial.Access, g Grant) (perennial.Connection, error) {
	access, err := access.InTenant(g.Tenant)
	if err != nil {
		return perennial.Connection{}, err
	}
	app, err := s.app(access, g)
	if err == nil {
		g, err = s.verified(ctx, app, g, perennial.CodeInvalid)
	}
	if err != nil {
		return perennial.Connection{}, err
	}
	return s.guarded(ctx, func() (perennial.Connection, error) {
		c, err := s.Store.FindByAccount(ctx, access, g.App, g.Account)
		switch {
		case perennial.CodeOf(err) == perennial.CodeNotFound:
			return s.insert(ctx, access, app, g)
		case err != nil:
			return perennial.Connection{}, fmt.Errorf("connect: %w", err)
		}
		return s.replace(ctx, access, app, c, g)
	})
}

// app returns the app of a grant. One that the access does not reach is not found, like
// one that there is not.
func (s *Service) app(access perennial.Access, g Grant) (provider.App, error) {
	if !access.Reaches(g.Tenant, g.App) {
		return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "there is no app %q", g.App)
	}
	return s.Apps.App(g.App)
}

// Reconnect stores a new grant of the connection's own account. It refuses another
// account and then changes nothing.
func (s *Service) Reconnect(ctx context.Context, access perennial.Access, id string, g Grant) (perennial.Connection, error) {
	c, _, err := s.Store.Get(ctx, access, id)
	if err != nil {
		return perennial.Connection{}, err
	}
	if err := g.isOf(c); err != nil {
		return perennial.Connection{}, err
	}
	g.Tenant, g.App, g.Host = c.TenantID, c.App, cmp.Or(g.Host, c.Host)
	app, err := s.Apps.App(c.App)
	if err == nil {
		g, err = s.verified(ctx, app, g, perennial.CodeAccountMismatch)
	}
	if err != nil {
		return perennial.Connection{}, err
	}
	return s.guarded(ctx, func() (perennial.Connection, error) {
		c, _, err := s.Store.Get(ctx, access, id)
		if err != nil {
			return perennial.Connection{}, err
		}
		if err := g.isOf(c); err != nil {
			return perennial.Connection{}, err
		}
		return s.replace(ctx, access, app, c, g)
	})
}

// isOf refuses a grant of another account than the connection's.
func (g Grant) isOf(c perennial.Connection) error {
	if g.Account == "" {
		return perennial.Errorf(perennial.CodeInvalid, "reconnect %s: name the account that gave consent, so that it can be compared with the connection's", c.ID)
	}
	if g.Account != c.AccountID {
		return perennial.Errorf(perennial.CodeAccountMismatch,
			"connection %s belongs to account %q, but the tokens are of account %q: nothing was changed. Reconnect with the first account, or connect the second one as a new connection", c.ID, c.AccountID, g.Account)
	}
	return nil
}

// Pause stops the refreshing of access tokens. The refresh token is still kept from
// expiring unused.
func (s *Service) Pause(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error) {
	return s.changeStatus(ctx, access, id, "pause", perennial.StatusPaused, perennial.StatusActive)
}

// Resume makes a paused connection active again.
func (s *Service) Resume(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error) {
	return s.changeStatus(ctx, access, id, "resume", perennial.StatusActive, perennial.StatusPaused)
}

// SetCadence changes how often a connection is refreshed, and signals its workflow.
func (s *Service) SetCadence(ctx context.Context, access perennial.Access, id string, cadence perennial.Cadence) (perennial.Connection, error) {
	c, err := s.Store.SetCadence(ctx, access, id, cadence)
	if err != nil {
		return perennial.Connection{}, err
	}
	return c, s.Workflows.Signal(ctx, c, workflows.SignalNudge)
}

// GiveUpSetAside lets a connection go on without the token set that is set aside, and
// signals its workflow: see [store.Store.GiveUpSetAside].
func (s *Service) GiveUpSetAside(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error) {
	c, err := s.Store.GiveUpSetAside(ctx, access, id)
	if err != nil {
		return perennial.Connection{}, err
	}
	return c, s.signal(ctx, c, workflows.SignalNudge)
}

// EndBackoff ends a wait of a connection that is our own, and signals its workflow: see
// [store.Store.EndBackoff].
func (s *Service) EndBackoff(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error) {
	c, err := s.Store.EndBackoff(ctx, access, id)
	if err != nil {
		return perennial.Connection{}, err
	}
	return c, s.signal(ctx, c, workflows.SignalNudge)
}

// Disconnect ends a connection: it wipes the tokens, and the workflow completes.
func (s *Service) Disconnect(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error) {
	return s.changeStatus(ctx, access, id, "disconnect", perennial.StatusDisconnected,
		perennial.StatusActive, perennial.StatusPaused, perennial.StatusReconnectRequired)
}

// changeStatus changes the status by compare-and-set and signals the workflow. If the
// row has that status already, it succeeds and signals again.
func (s *Service) changeStatus(ctx context.Context, access perennial.Access, id, signal string, to perennial.Status, from ...perennial.Status) (perennial.Connection, error) {
	c, err := retryConflicts(func() (perennial.Connection, error) {
		c, _, err := s.Store.Get(ctx, access, id)
		if err != nil || c.Status == to {
			return c, err
		}
		if !slices.Contains(from, c.Status) {
			return c, perennial.Errorf(perennial.CodeConflict, "connection %s is %s: it cannot %s", id, c.Status, signal)
		}
		return s.Store.SetStatus(ctx, access, id, from, c.Generation, to, perennial.ReasonNone)
	})
	if err != nil {
		return c, err
	}
	return c, s.signal(ctx, c, signal)
}

// guarded writes tokens, again if the row has moved on, and signals the workflow.
func (s *Service) guarded(ctx context.Context, write func() (perennial.Connection, error)) (perennial.Connection, error) {
	c, err := retryConflicts(write)
	if err != nil {
		return perennial.Connection{}, err
	}
	return c, s.signal(ctx, c, "reconnected")
}

func (s *Service) signal(ctx context.Context, c perennial.Connection, signal string) error {
	if err := s.Workflows.Signal(ctx, c, signal); err != nil {
		s.Log.Error("workflow not signalled", "connection_id", c.ID, "signal", signal, "error", err)
		mend := "say the same again once Temporal is reachable"
		return &perennial.Error{Code: perennial.CodeUnavailable, Err: err,
			Message: fmt.Sprintf("connection %s is stored, but its workflow could not be signalled (%v): %s", c.ID, err, mend)}
	}
	return nil
}

// check returns an error for a grant that cannot be stored.
func (g Grant) check() error {
	for _, f := range []struct {
		value, message string
	}{
		{g.Tenant, "a connection needs a tenant"},
		{g.Account, "a connection needs the account's id at the provider"},
		{g.Tokens.AccessToken.Reveal(), "the token reply has no access_token"},
		{g.Tokens.RefreshToken.Reveal(), "the token reply has no refresh_token: ask the provider for offline access, else nothing can be kept alive"},
	} {
		if f.value == "" {
			return perennial.Errorf(perennial.CodeInvalid, "%s", f.message)
		}
	}
	return nil
}

func (s *Service) insert(ctx context.Context, access perennial.Access, app provider.App, g Grant) (perennial.Connection, error) {
	if !printable.Is(g.Tenant) || !printable.Is(g.Account) {
		return perennial.Connection{}, perennial.Errorf(perennial.CodeInvalid, "the names of a tenant and of an account must be text without control or invisible characters")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return perennial.Connection{}, fmt.Errorf("make a connection id: %w", err)
	}
	host, err := g.host(app)
	if err != nil {
		return perennial.Connection{}, err
	}
	c := g.connection(app)
	c.ID, c.Host = "con_"+id.String(), host
	w, err := s.tokens(ctx, app, c, 1, g)
	if err != nil {
		return perennial.Connection{}, err
	}
	return s.Store.Insert(ctx, access, c, w)
}

// host returns the host of the token endpoint that the grant's tokens are good at.
func (g Grant) host(app provider.App) (string, error) {
	if !app.Provider.HostNeeded() {
		return app.Provider.Host(), nil
	}
	_, err := app.At(g.Host)
	return g.Host, err
}

// connection returns a new connection of the grant's account, without id and host.
func (g Grant) connection(app provider.App) perennial.Connection {
	return perennial.Connection{TenantID: g.Tenant, App: g.App, AccountID: g.Account, Cadence: app.Cadence, Provider: app.Provider.Name}
}

func (s *Service) replace(ctx context.Context, access perennial.Access, app provider.App, c perennial.Connection, g Grant) (perennial.Connection, error) {
	if g.Host != "" { // the account may have moved; without a host it is where it was
		host, err := g.host(app)
		if err != nil {
			return perennial.Connection{}, err
		}
		c.Host = host
	}
	w, err := s.tokens(ctx, app, c, c.NextGeneration(), g)
	if err != nil {
		return perennial.Connection{}, err
	}
	w.Host = c.Host
	return s.Store.ReplaceTokens(ctx, access, c.ID, c.Status, c.Generation, w)
}

// tokens seals a consent's tokens. A start in the database's future becomes its now.
// Without a start the connection is due at once.
func (s *Service) tokens(ctx context.Context, app provider.App, c perennial.Connection, generation int64, g Grant) (store.TokenWrite, error) {
	now, err := s.Store.Now(ctx)
	if err != nil {
		return store.TokenWrite{}, fmt.Errorf("read the database's clock: %w", err)
	}
	start := g.ObtainedAt
	if start.IsZero() || start.After(now) {
		start = now
	}
	w, err := refresh.Tokens(s.Sealer, app, c, generation, g.Tokens, g.Tokens.RefreshToken, start)
	if err != nil {
		return store.TokenWrite{}, err
	}
	w.Unproven = !g.Exchanged
	w.Sole = !app.Provider.Grant.FromCredentials() // credentials do not rotate
	if w.GrantExpiresAt.IsZero() && app.Provider.GrantLifetime > 0 {
		w.GrantExpiresAt = start.Add(app.Provider.GrantLifetime)
	}
	if g.ObtainedAt.IsZero() {
		w.NextRefreshAt = now
	}
	return w, nil
}

// tokenInUse reports whether the grant's refresh token is another live connection's.
func tokenInUse(err error) bool {
	_, ok := errors.AsType[*store.TokenInUseError](err)
	return ok
}

func retryConflicts(write func() (perennial.Connection, error)) (perennial.Connection, error) {
	var c perennial.Connection
	var err error
	for range guardTries {
		if c, err = write(); perennial.CodeOf(err) != perennial.CodeConflict || tokenInUse(err) {
			return c, err
		}
	}
	return c, err
}
