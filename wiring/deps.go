package wiring

import (
	"context"
	"io"
	"log/slog"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/kms"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/discovery"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/web/connectui"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Deps has what every process needs, opened from one configuration.
type Deps struct {
	Config  *config.Config
	DB      *db.DB
	Store   *store.Store
	Keyring *seal.Keyring
	Spool   *spool.Spool // nil before OpenSpool, and if none is configured
	Log     *slog.Logger

	environ     []string           // of Temporal's settings; nil: this process's
	discovery   *discovery.Service // nil: no app's provider describes itself
	binding     *Binding           // nil before Bind
	stopBinding func()
}

// Open opens the database, refuses a schema outside this program's range, and loads the
// keys.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Deps, error) {
	keyring, err := LoadKeys(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d, err := db.Open(ctx, cfg.DatabaseURL, cfg.DatabasePool)
	if err != nil {
		return nil, err
	}
	if err := d.CheckSchema(ctx); err != nil {
		_ = d.Close() // return the schema's error instead
		return nil, err
	}
	deps := &Deps{Config: cfg, DB: d, Store: store.New(d), Keyring: keyring, Log: log}
	deps.discovery = discovery.New(deps.discoveryConfig())
	if deps.discovery != nil {
		cfg.CompleteWith(deps.discovery.Complete)
	}
	return deps, nil
}

func (d *Deps) discoveryConfig() discovery.Config {
	private := d.Config.Discovery.AllowPrivate
	network := discovery.NewFetcher(private)
	return discovery.Config{Pins: d.Store, Reader: network, Apps: d.Config.Apps, AllowPrivate: private, Log: d.Log,
		Clients: d.Store, Registrar: network, Sealer: d.Keyring, BaseURL: d.Config.Connect.BaseURL, Product: d.Config.Connect.Product}
}

// ReadMetadata reads what an app's provider says about itself now, and returns what is
// pinned then.
func (d *Deps) ReadMetadata(ctx context.Context, app string) (store.ProviderMetadata, error) {
	s := d.discovery
	if s == nil {
		s = discovery.New(d.discoveryConfig())
	}
	if s == nil {
		return store.ProviderMetadata{}, perennial.Errorf(perennial.CodeInvalid, "no app's provider describes itself")
	}
	return s.CheckNow(ctx, app)
}

// discover looks after what providers say about themselves until ctx ends.
func (d *Deps) discover(ctx context.Context) {
	if d.discovery != nil {
		d.discovery.Run(ctx)
	}
}

// openFor reads the command line of the program called name and its configuration, and
// opens what they name. It logs to logs.
func openFor(ctx context.Context, name string, args, environ []string, logs io.Writer) (*Deps, error) {
	options, err := program.Parse(name, args)
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadEnviron(options.Config, environ)
	if err != nil {
		return nil, err
	}
	deps, err := Open(ctx, cfg, NewLogger(cfg, logs))
	if err != nil {
		return nil, err
	}
	deps.environ = environ
	return deps, nil
}

// OpenSpool opens the spool if one is configured. Only a process that refreshes needs
// it.
func (d *Deps) OpenSpool() error {
	if d.Config.Spool == "" {
		return nil
	}
	kept, err := spool.Open(d.Config.Spool, 0)
	if err != nil {
		return err
	}
	d.Spool = kept
	return nil
}

// LoadKeys loads the keysets and unwraps them with the configured KMS.
func LoadKeys(ctx context.Context, cfg *config.Config) (*seal.Keyring, error) {
	kek, err := KEK(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return seal.Load(cfg.KeysDir, kek, cfg.AllowPlaintextKeys)
}

// KEK returns the key that wraps the keysets, nil if none is configured.
func KEK(ctx context.Context, cfg *config.Config) (tink.AEAD, error) {
	if cfg.KMSURI == "" {
		return nil, nil
	}
	return kms.KEK(ctx, cfg.KMSURI)
}

// EngineConfig returns the configuration of a refresh engine in this process. After
// [Deps.Bind] the engine presents nothing while database and Temporal do not belong
// together.
func (d *Deps) EngineConfig() refresh.Config {
	network := provider.NewClient(provider.ClientConfig{})
	c := refresh.Config{
		Store:     d.Store,
		Presenter: network,
		Revoker:   d.revoker(),
		Apps:      d.Config,
		Sealer:    d.Keyring,
		Timing:    d.Config.Timing,
		Log:       d.Log,
	}
	if d.binding != nil {
		c.MayPresent = d.binding.MayPresent
	}
	if d.Spool != nil && !seam.Off(seam.Spool) {
		c.Spool = d.Spool
	}
	return c
}

// revoker revokes grants at their providers, but none while database and Temporal do not
// belong together: a copy's grants are the original's.
type revoker struct {
	refresh.Revoker
	mayPresent func() error // nil: always
}

// Revoke implements [refresh.Revoker].
func (r *revoker) Revoke(ctx context.Context, app provider.App, token perennial.Secret) error {
	if r.mayPresent != nil {
		if err := r.mayPresent(); err != nil {
			return err
		}
	}
	return r.Revoker.Revoke(ctx, app, token)
}

// presenter presents the credentials of new connections, but none while database and
// Temporal do not belong together.
type presenter struct {
	refresh.Presenter
	deps *Deps // its binding may come later
}

// Refresh implements [refresh.Presenter].
func (p *presenter) Refresh(ctx context.Context, app provider.App, secret, token perennial.Secret, send func(context.Context) error) provider.Reply {
	if p.deps.binding != nil {
		if err := p.deps.binding.MayPresent(); err != nil {
			return provider.Reply{Outcome: perennial.OutcomeUnavailable, Code: "not_bound", Description: err.Error(), Fault: perennial.FaultNobody}
		}
	}
	return p.Presenter.Refresh(ctx, app, secret, token, send)
}

func (d *Deps) presenter() refresh.Presenter {
	return &presenter{Presenter: provider.NewClient(provider.ClientConfig{}), deps: d}
}

func (d *Deps) revoker() refresh.Revoker {
	r := &revoker{Revoker: provider.NewClient(provider.ClientConfig{})}
	if d.binding != nil {
		r.mayPresent = d.binding.MayPresent
	}
	return r
}

// Notify returns the service that stores webhook endpoints and delivers events to them.
// observer, which may be nil, receives every try.
func (d *Deps) Notify(observer notify.Observer) *notify.Service {
	return notify.New(d.notifyConfig(observer))
}

func (d *Deps) notifyConfig(observer notify.Observer) notify.Config {
	return notify.Config{Store: notify.NewStore(d.DB), Sealer: d.Keyring, Apps: d.Config,
		Addresses: notify.Addresses{AllowPrivate: d.Config.Notify.AllowPrivate}, Log: d.Log, Observer: observer}
}

// Sessions returns the maker of connect links; service stores their grants. Without a
// connect.base_url it is an error of [perennial.CodeInvalid].
func (d *Deps) Sessions(service *connect.Service) (*connect.Sessions, error) {
	return connect.NewSessions(d.sessionsConfig(service))
}

func (d *Deps) sessionsConfig(service *connect.Service) connect.SessionsConfig {
	c := d.Config.Connect
	return connect.SessionsConfig{Service: service, Store: connect.NewSessionStore(d.DB), Provider: &authorizer{provider.NewClient(provider.ClientConfig{}), d.discovery},
		BaseURL: c.BaseURL, ReturnURLs: c.ReturnURLs, Lifetime: c.Lifetime, BoundOnly: c.BoundOnly}
}

// authorizer tells a server's own registrations apart from clients of the settings: one
// that the server has forgotten is registered anew.
type authorizer struct {
	*provider.Client
	discovery *discovery.Service // nil: there are no registrations
}

// Exchange implements [connect.Authorizer].
func (a *authorizer) Exchange(ctx context.Context, app provider.App, secret perennial.Secret, code provider.AuthorizationCode) provider.Reply {
	reply := a.Client.Exchange(ctx, app, secret, code)
	if a.discovery != nil && reply.ClientRejected() {
		a.discovery.Rejected(ctx, app)
	}
	return reply
}

// RegisterClient has an app's client registered anew at its server.
func (d *Deps) RegisterClient(ctx context.Context, app string) (store.ProviderClient, error) {
	if d.discovery == nil {
		return store.ProviderClient{}, perennial.Errorf(perennial.CodeInvalid, "no app's provider describes itself")
	}
	return d.discovery.Register(ctx, app)
}

// ConnectPages returns the handler of the links' pages. Mount it at /connect/.
func (d *Deps) ConnectPages(sessions *connect.Sessions) (*connectui.Handler, error) {
	return connectui.New(d.pagesConfig(sessions))
}

func (d *Deps) pagesConfig(sessions *connect.Sessions) connectui.Config {
	c := d.Config.Connect
	return connectui.Config{Sessions: sessions, Product: c.Product, HelpURL: c.HelpURL, Log: d.Log}
}

// spoolCounts returns nil if there is no spool.
func (d *Deps) spoolCounts() metrics.Spool {
	if d.Spool == nil {
		return nil
	}
	return d.Spool
}

// Close closes the database.
func (d *Deps) Close() {
	if d.stopBinding != nil {
		d.stopBinding()
	}
	if err := d.DB.Close(); err != nil {
		d.Log.Warn("close the database", "error", err)
	}
}

// NewLogger makes the process's logger as configured.
func NewLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		level = slog.LevelInfo // the configuration was checked at load
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
