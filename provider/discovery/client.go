package discovery

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"golang.org/x/oauth2"
)

// Clients keeps the clients that servers have registered: [store.Store] in production.
type Clients interface {
	ProviderClient(ctx context.Context, app, issuer string) (store.ProviderClient, error)
	ClaimRegistration(ctx context.Context, app, issuer string, after int64, by string, lease time.Duration) (bool, error)
	SaveRegistration(ctx context.Context, c store.ProviderClient, by string) error
	EndRegistrationClaim(ctx context.Context, app, issuer, by string) error
	NoteClientRejected(ctx context.Context, c store.ProviderClient) (unused bool, err error)
}

// Registrar registers a client: [Fetcher] in production.
type Registrar interface {
	Register(ctx context.Context, endpoint string, r Registration) (Registered, error)
}

// Sealer seals and opens client secrets: seal.Keyring in production.
type Sealer interface {
	Seal(b seal.Binding, s perennial.Secret) ([]byte, error)
	Open(b seal.Binding, sealed []byte) (perennial.Secret, error)
}

// The kinds of registrations.
const (
	KindDynamic  = "dynamic"
	KindDocument = "document"
)

// registerLease is how long one process may take to register a client.
const registerLease = time.Minute

// withClient gives an app without a client_id the client that is registered for it, and
// registers one if there is none.
func (s *Service) withClient(ctx context.Context, app provider.App, m Metadata) (provider.App, int64, error) {
	if app.ClientID != "" {
		return app, 0, nil
	}
	c, err := s.Clients.ProviderClient(ctx, app.Name, m.Issuer)
	if err == nil && c.Registration == 0 {
		c, err = s.register(ctx, app, m, 0)
	}
	if err != nil {
		return app, 0, err
	}
	app, err = s.as(app, c)
	return app, c.Registration, err
}

// as returns the app with a registered client.
func (s *Service) as(app provider.App, c store.ProviderClient) (provider.App, error) {
	app.ClientID = c.ClientID
	app.Provider.AuthStyle = oauth2.AuthStyleInParams
	if c.AuthMethod == methodHeader {
		app.Provider.AuthStyle = oauth2.AuthStyleInHeader
	}
	if len(c.SecretSealed) == 0 {
		return app, nil
	}
	secret, err := s.Sealer.Open(bindingOf(c), c.SecretSealed)
	if err != nil {
		return app, perennial.Errorf(perennial.CodeSealed, "app %s: the secret of its registered client does not open with this process's keys", app.Name)
	}
	app.ClientSecrets = []perennial.Secret{secret}
	return app, nil
}

func bindingOf(c store.ProviderClient) seal.Binding {
	return seal.Binding{Connection: c.App + " " + c.Issuer, Field: seal.FieldClientSecret, Generation: c.Registration}
}

// register registers a client in the place of the registration with the number after. If
// another process does, it waits for that.
func (s *Service) register(ctx context.Context, app provider.App, m Metadata, after int64) (store.ProviderClient, error) {
	c := store.ProviderClient{App: app.Name, Issuer: m.Issuer, Registration: after + 1}
	if s.BaseURL == "" {
		return c, perennial.Errorf(perennial.CodeInvalid, "app %s: set client_id, or connect.base_url, with which %s registers a client", app.Name, m.Issuer)
	}
	c.RedirectURI = s.BaseURL + "/connect/callback/" + url.PathEscape(app.Name)
	if m.ClientIDDocuments && strings.HasPrefix(s.BaseURL, "https://") && !local(s.BaseURL) {
		c.Kind, c.ClientID, c.AuthMethod = KindDocument, ClientURL(s.BaseURL, app.Name), methodNone
	} else if m.RegistrationEndpoint == "" {
		return c, perennial.Errorf(perennial.CodeInvalid, "app %s: %s registers no clients by itself: register one there with the redirect URI %s, and set client_id", app.Name, m.Issuer, c.RedirectURI)
	}
	by := uuid.NewString()
	mine, err := s.Clients.ClaimRegistration(ctx, app.Name, m.Issuer, after, by, registerLease)
	switch {
	case err != nil:
		return c, err
	case !mine:
		return s.registeredElsewhere(ctx, c)
	}
	if c.Kind == "" {
		if err := s.registerDynamically(ctx, app, m, &c); err != nil {
			_ = s.Clients.EndRegistrationClaim(ctx, app.Name, m.Issuer, by) // else its lease ends
			return c, err
		}
	}
	if err := s.Clients.SaveRegistration(ctx, c, by); err != nil {
		return c, err
	}
	s.Log.Info("a client is registered", "app", app.Name, "issuer", m.Issuer, "kind", c.Kind, "registration", c.Registration)
	return c, nil
}

// registersWithin is how long a process waits for one that registers the client.
const registersWithin = 10 * time.Second

// registeredElsewhere returns the client that another process registers. It waits for
// that process a while.
func (s *Service) registeredElsewhere(ctx context.Context, wanted store.ProviderClient) (store.ProviderClient, error) {
	ctx, cancel := context.WithTimeout(ctx, registersWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := s.Clients.ProviderClient(ctx, wanted.App, wanted.Issuer)
		if err != nil || c.Registration >= wanted.Registration {
			return c, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return c, perennial.Errorf(perennial.CodeUnavailable, "app %s: another process registers a client now", wanted.App)
		}
	}
}

func (s *Service) registerDynamically(ctx context.Context, app provider.App, m Metadata, c *store.ProviderClient) error {
	got, err := s.Registrar.Register(ctx, m.RegistrationEndpoint, registration(s.Product, c.RedirectURI, m.method(), app.Scopes))
	if err != nil {
		return perennial.Errorf(perennial.CodeUnavailable, "app %s: register a client at %s: %w", app.Name, m.RegistrationEndpoint, err)
	}
	c.Kind, c.ClientID, c.AuthMethod, c.SecretExpiresAt = KindDynamic, got.ClientID, got.AuthMethod, got.SecretExpiresAt
	if got.Secret.IsZero() {
		return nil
	}
	c.SecretSealed, err = s.Sealer.Seal(bindingOf(*c), got.Secret)
	return err
}

// ClientURL is the id of a client whose document the pages serve below base.
func ClientURL(base, app string) string { return base + "/connect/client/" + url.PathEscape(app) }

// Document returns the document of an app's client. ok is false if the app has a client_id
// of its own, or its provider is no MCP server.
func (s *Service) Document(app string) (doc ClientDocument, ok bool) {
	k := s.known[app]
	if k == nil || k.source.MCP == "" || k.configured.ClientID != "" {
		return doc, false
	}
	return ClientDocument{ClientURL(s.BaseURL, app), registration(s.Product, s.BaseURL+"/connect/callback/"+url.PathEscape(app), methodNone, k.configured.Scopes)}, true
}

// Register registers an app's client anew. Grants that were made with the one before
// cannot be refreshed any more: their customers must reconnect.
func (s *Service) Register(ctx context.Context, app string) (store.ProviderClient, error) {
	k := s.known[app]
	if k == nil || k.source.MCP == "" || k.configured.ClientID != "" {
		return store.ProviderClient{}, perennial.Errorf(perennial.CodeInvalid, "app %s: no server registers its client: it has a client_id, or no mcp", app)
	}
	pin, err := s.pinned(ctx, k)
	if err != nil {
		return store.ProviderClient{}, err
	}
	m, err := decode(pin.Document)
	if err != nil {
		return store.ProviderClient{}, err
	}
	c, err := s.Clients.ProviderClient(ctx, app, m.Issuer)
	if err != nil {
		return c, err
	}
	return s.register(ctx, k.configured, m, c.Registration)
}

// Rejected is called if the server has rejected the app's registered client at a consent.
// If nothing works with that client any more, it is registered anew for the next consent;
// else that is left to an operator.
func (s *Service) Rejected(ctx context.Context, app provider.App) {
	k := s.known[app.Name]
	if k == nil || k.configured.ClientID != "" {
		return
	}
	c, err := s.Clients.ProviderClient(ctx, app.Name, app.Provider.Issuer)
	if err != nil || c.ClientID != app.ClientID {
		return
	}
	unused, err := s.Clients.NoteClientRejected(ctx, c)
	if err == nil && !unused {
		s.Log.Error("a server rejects the client that it has registered, and connections work with it: nothing is registered anew without an operator", "app", app.Name, "command", "perennial provider register "+app.Name)
	}
	if err == nil && unused {
		_, err = s.Register(ctx, app.Name)
		k.complete.Store(nil)
	}
	if err != nil {
		s.Log.Error("a rejected client is not registered anew", "app", app.Name, "error", err)
	}
}
