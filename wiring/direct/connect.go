package direct

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/connect"
)

// Sessions makes connect links: [connect.Sessions] in production.
type Sessions interface {
	CreateSession(ctx context.Context, access perennial.Access, req connect.SessionRequest) (connect.Session, error)
	Session(ctx context.Context, access perennial.Access, id string) (perennial.ConnectSession, error)
	FinishBound(ctx context.Context, access perennial.Access, req connect.FinishRequest) (perennial.ConnectSession, error)
}

// Disconnector ends connections, also at their providers: [connect.Disconnector] in
// production.
type Disconnector interface {
	Disconnect(ctx context.Context, access perennial.Access, id string) (perennial.Connection, perennial.Revocation, error)
}

// endTimeout bounds a disconnect, which goes on after its caller has left. A second
// request would not revoke a grant that the first failed to revoke.
const endTimeout = 30 * time.Second

// Connect implements [client.Connector].
func (b *Backend) Connect(ctx context.Context, req client.ConnectRequest) (client.ConnectSession, error) {
	return b.link(ctx, connect.SessionRequest{App: req.App, Host: req.Host, ReturnURL: req.ReturnURL, Challenge: req.Challenge, Scopes: req.Scopes, Mode: req.Mode,
		TenantTitle: req.TenantTitle, Lifetime: req.Lifetime})
}

// Reconnect implements [client.Connector].
func (b *Backend) Reconnect(ctx context.Context, id string, req client.ReconnectRequest) (client.ConnectSession, error) {
	return b.link(ctx, connect.SessionRequest{ConnectionID: id, ReturnURL: req.ReturnURL, Challenge: req.Challenge, Scopes: req.Scopes, Mode: req.Mode,
		TenantTitle: req.TenantTitle, Lifetime: req.Lifetime})
}

func (b *Backend) link(ctx context.Context, req connect.SessionRequest) (client.ConnectSession, error) {
	if b.Sessions == nil {
		return client.ConnectSession{}, noSessions()
	}
	tenant, err := b.Access.OneTenant()
	if err != nil {
		return client.ConnectSession{}, err
	}
	req.Tenant = tenant
	made, err := b.Sessions.CreateSession(ctx, b.Access, req)
	if err != nil {
		return client.ConnectSession{}, err
	}
	out := session(made.ConnectSession)
	out.Link = made.Link
	return out, nil
}

// Session implements [client.Connector].
func (b *Backend) Session(ctx context.Context, id string) (client.ConnectSession, error) {
	if b.Sessions == nil {
		return client.ConnectSession{}, noSessions()
	}
	c, err := b.Sessions.Session(ctx, b.Access, id)
	if err != nil {
		return client.ConnectSession{}, err
	}
	return session(c), nil
}

// Finish implements [client.Connector].
func (b *Backend) Finish(ctx context.Context, req client.FinishRequest) (client.ConnectSession, error) {
	if b.Sessions == nil {
		return client.ConnectSession{}, noSessions()
	}
	c, err := b.Sessions.FinishBound(ctx, b.Access, connect.FinishRequest{ID: req.Session, Code: req.Code, Verifier: req.Verifier})
	if err != nil {
		return client.ConnectSession{}, err
	}
	return session(c), nil
}

func session(c perennial.ConnectSession) client.ConnectSession {
	out := client.ConnectSession{ID: c.ID, App: c.App, Connection: c.ConnectionID, Outcome: c.Outcome, ExpiresAt: c.ExpiresAt}
	if len(c.Missing) > 0 { // otherwise nil, as from every backend
		out.MissingScopes = c.Missing
	}
	if c.ResultID != "" {
		out.Connection = c.ResultID
	}
	return out
}

func noSessions() error {
	return perennial.Errorf(perennial.CodeInvalid, "this client makes no connect links: direct.Config.Sessions is not set; connect.NewSessions makes it, with connect.base_url of the configuration")
}

// Disconnect implements [client.Connector].
func (b *Backend) Disconnect(ctx context.Context, id string) (perennial.Revocation, error) {
	if b.Disconnector == nil {
		return "", perennial.Errorf(perennial.CodeInvalid, "this client cannot disconnect: set direct.Config.Disconnector to a connect.Disconnector, which also ends the grant at the provider")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	c, revocation, err := b.Disconnector.Disconnect(ctx, b.Access, id)
	if c.Status == perennial.StatusDisconnected && perennial.CodeOf(err) == perennial.CodeUnavailable {
		err = nil // only the row counts: its workflow reads it at its next wake
	}
	return revocation, err
}

var _ client.Connector = (*Backend)(nil)
