// Package direct is the client's backend over Perennial's own store and Temporal, for
// product code that can reach both. It opens only access tokens. It needs the refresh
// tokens' keyset only if it has an engine or a disconnector.
package direct

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// Store is what a backend needs of store.Store.
type Store interface {
	ForTokenRead(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	ReconnectSince(ctx context.Context, access perennial.Access, c perennial.Connection) (time.Time, error)
	TouchUsed(ctx context.Context, access perennial.Access, id string) error
	TouchUnauthorized(ctx context.Context, access perennial.Access, id string) error
	// IsNeglected reports whether the connection's workflow does not refresh it in time.
	IsNeglected(ctx context.Context, c perennial.Connection, patience time.Duration) (bool, error)
	AttemptLost(ctx context.Context, c perennial.Connection) (bool, error)
}

// Keys opens access tokens: [seal.Keyring] in production.
type Keys interface {
	Open(b seal.Binding, sealed []byte) (perennial.Secret, error)
}

// Workflows sends requests to the connections' workflows; see [Temporal].
type Workflows interface {
	connect.Refresher
	// Healthy reports whether Temporal answers at all.
	Healthy(ctx context.Context) error
	// Sets returns the token sets in the connection's workflow that a refresh could not
	// store, without the help of a worker.
	Sets(ctx context.Context, id string) ([]store.SaveRequest, error)
}

// Config configures a [Backend]. Tenant or Access, Store, Keys, Workflows and Apps are required.
type Config struct {
	// Tenant is the only tenant that the backend serves. It is short for an Access of
	// that tenant.
	Tenant string
	// Access, if set, takes the place of Tenant. One that reaches many tenants is narrowed
	// with For before each use.
	Access    perennial.Access
	Store     Store
	Keys      Keys
	Workflows Workflows
	Apps      refresh.Apps // for the catalogue's entry of each app

	// Engine, if set, refreshes while Temporal does not answer, and connections whose
	// workflows do not refresh them in time: with the same fence, and one request to the
	// provider. It needs the refresh tokens' keyset, and a spool on a persistent volume.
	Engine refresh.FallbackEngine
	// Sweep is the time between two sweeps, which tells how late a refresh may be before
	// the engine makes it. Defaults to a minute, as the configuration does.
	Sweep time.Duration
	// Answer is how long the backend waits for a workflow before it asks the engine.
	// Defaults to 10 s.
	Answer time.Duration

	// Floor is the workers' floor of forced refreshes: timing.Config.Floor of their
	// configuration. Defaults to that of timing.Config.
	Floor perennial.Floor

	// Links, if set, returns the URLs in ErrReconnectRequired.
	Links func(c perennial.Connection) (reconnect, help string)
	// Sessions, if set, makes the links of Connect and Reconnect.
	Sessions Sessions
	// Disconnector, if set, does the work of Disconnect. It needs the refresh tokens'
	// keyset.
	Disconnector Disconnector
}

// Backend implements [client.Backend] for one tenant.
type Backend struct {
	Config
	*shared
}

// shared is what a backend and all those made of it by For have in common.
type shared struct {
	sick    atomic.Int64 // when Temporal last failed to answer, in Unix nanoseconds
	keeping sync.WaitGroup
}

// For returns the same backend for another access. It costs nothing, and is closed with b.
func (b *Backend) For(access perennial.Access) *Backend {
	of := *b
	of.Access = access
	return &of
}

// New returns a backend for [client.New].
func New(c Config) (*Backend, error) {
	for name, missing := range map[string]bool{"Store": c.Store == nil, "Keys": c.Keys == nil, "Workflows": c.Workflows == nil, "Apps": c.Apps == nil} {
		if missing {
			return nil, perennial.Errorf(perennial.CodeInvalid, "client: %s is needed", name)
		}
	}
	if c.Access.IsZero() {
		access, err := perennial.TenantAccess(perennial.Actor{Kind: perennial.ActorProgram}, c.Tenant)
		if err != nil {
			return nil, perennial.Errorf(perennial.CodeInvalid, "client: Tenant is needed")
		}
		c.Access = access
	}
	if e, ok := c.Engine.(*refresh.Engine); ok && (e == nil || e.Spool == nil) {
		return nil, perennial.Errorf(perennial.CodeInvalid, "client: an engine outside Temporal needs a spool: else a reply that cannot be stored at once is lost with this process")
	}
	c.Answer = cmp.Or(c.Answer, 10*time.Second)
	c.Sweep = cmp.Or(c.Sweep, time.Minute)
	c.Floor = cmp.Or(c.Floor, timing.Config{}.WithDefaults().Floor())
	return &Backend{c, &shared{}}, nil
}

// Load implements [client.Backend].
func (b *Backend) Load(ctx context.Context, id string) (client.TokenState, error) {
	c, now, err := b.Store.ForTokenRead(ctx, b.Access, id)
	if err != nil {
		return client.TokenState{}, err
	}
	h := client.TokenState{
		ID: c.ID, TokenType: c.TokenType, Generation: c.Generation,
		App: c.App, Provider: c.Provider, Title: c.Provider, Account: c.AccountID,
		Status: c.Status, Reason: c.Reason, FailingCode: c.FailingCode,
		Now: now, ExpiresAt: c.ExpiresAt, RefreshedAt: c.LastRefreshedAt, DueAt: c.NextRefreshAt, RetryAt: c.WaitsUntil(now), LastUsedAt: c.LastUsedAt,
	}
	if until := b.floored(c, now); until.After(now) && until.After(h.RetryAt) {
		h.RetryAt, h.ForcedAt = until, c.ForcedAt
	}
	if app, err := b.Apps.App(c.App); err == nil { // an app that left the configuration is still served
		h.Title, h.KillsAccess = app.Provider.Title, app.Provider.RefreshKillsAccessToken
		if api := app.Provider.API; !reflect.DeepEqual(api, resource.Of(c.Provider)) {
			h.API = &api
		}
	}
	if len(c.AccessTokenSealed) > 0 {
		if h.Access, err = b.Keys.Open(seal.BindingOf(c, seal.FieldAccessToken, c.Generation), c.AccessTokenSealed); err != nil {
			return client.TokenState{}, err
		}
	}
	if c.Status == perennial.StatusReconnectRequired {
		if b.Links != nil {
			h.ReconnectURL, h.HelpURL = b.Links(c)
		}
		if h.Since, err = b.Store.ReconnectSince(ctx, b.Access, c); err != nil {
			return client.TokenState{}, err
		}
	}
	return h, nil
}

// floored returns when callers may force a refresh of c again: zero or a past time, now.
func (b *Backend) floored(c perennial.Connection, now time.Time) time.Time {
	if c.Status != perennial.StatusActive {
		return time.Time{}
	}
	floor := b.Floor
	if app, err := b.Apps.App(c.App); err == nil {
		floor.OpensBefore = app.Provider.OpensBefore()
	}
	return floor.Until(c, now)
}

// Note implements [client.Backend].
func (b *Backend) Note(ctx context.Context, id string, n client.Note) error {
	switch n {
	case client.NoteUsed:
		return b.Store.TouchUsed(ctx, b.Access, id)
	case client.NoteUnauthorized:
		return b.Store.TouchUnauthorized(ctx, b.Access, id)
	}
	return fmt.Errorf("no note %q", n)
}

// Close waits until the token sets of this backend's own refreshes are safe. Close the
// client before it and the store after it.
func (b *Backend) Close() { b.keeping.Wait() }
