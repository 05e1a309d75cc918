package api

import (
	"context"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/connect"
)

// Sessions make connect links: connect.Sessions in production.
type Sessions interface {
	CreateSession(ctx context.Context, access perennial.Access, req connect.SessionRequest) (connect.Session, error)
	Session(ctx context.Context, access perennial.Access, id string) (perennial.ConnectSession, error)
	FinishBound(ctx context.Context, access perennial.Access, req connect.FinishRequest) (perennial.ConnectSession, error)
}

type sessionOutput struct{ Body wire.ConnectSession }

func (o *sessionOutput) withoutSecret() any {
	kept := *o
	kept.Body.Link = ""
	return kept
}

const sessionsPath = "/v1/connect-sessions"

func (a *API) registerSessions() {
	const tag = "connect sessions"
	register(a, operation{id: "createConnectSession", method: http.MethodPost, path: sessionsPath, tag: tag, scopes: changing, writes: true, repeatable: true, success: http.StatusCreated,
		summary:     "Make a link by which a customer connects or reconnects an account",
		description: "One call, one link, one consent: the tokens are stored and kept alive. The event connection.connected or connection.recovered tells the product."}, a.createSession)
	register(a, operation{id: "getConnectSession", method: http.MethodGet, path: sessionsPath + "/{id}", tag: tag, scopes: reading,
		summary: "Show what came of a connect link"}, a.getSession)
	register(a, operation{id: "finishConnectSession", method: http.MethodPost, path: sessionsPath + "/{id}/finish", tag: tag, scopes: changing, writes: true, repeatable: true,
		summary:     "Store the grant of a bound session, for the user for whom the link was made",
		description: "Send the code that the browser brought to the return URL (connect_code) and the verifier from this user's own session, within ten minutes of the consent. Only a session that answers with the outcome connected is connected. Repeating the request gives the same answer. other_user (403): another user of the product gave the consent, and nothing is stored."}, a.finishSession)
}

// noSessions is the problem returned when connect pages are not configured.
func noSessions() *Problem {
	return problem(perennial.CodeInvalid, "This server makes no connect links: connect.base_url is not configured.")
}

func (a *API) createSession(ctx context.Context, access perennial.Access, in *struct{ Body wire.NewSession }) (*sessionOutput, error) {
	if a.Sessions == nil {
		return nil, noSessions()
	}
	tenant, err := access.OneTenant()
	if err != nil {
		return nil, err
	}
	b := in.Body
	if b.ConnectionID != "" {
		if _, err := a.own(ctx, access, b.ConnectionID); err != nil {
			return nil, err
		}
	} else if _, ok := a.reachedApp(access, b.App); !ok {
		p := problem(perennial.CodeInvalid, "There is no such app; GET %s lists those that there are.", appsPath)
		p.Errors = []wire.Invalid{{Location: "body.app", Message: "is not an app of the configuration"}}
		return nil, p
	}
	s, err := a.Sessions.CreateSession(ctx, access, requestOf(tenant, b))
	if err != nil {
		return nil, err
	}
	return &sessionOutput{startedOf(s)}, nil
}

// SessionPath is a connect session's id in a path.
type SessionPath struct {
	ID string `path:"id" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$" doc:"The connect session"`
}

func (a *API) getSession(ctx context.Context, access perennial.Access, in *SessionPath) (*sessionOutput, error) {
	if a.Sessions == nil {
		return nil, noSessions()
	}
	s, err := a.Sessions.Session(ctx, access, in.ID)
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return nil, problem(perennial.CodeNotFound, "There is no such connect session.")
	}
	if err != nil {
		return nil, err
	}
	return &sessionOutput{sessionOf(s)}, nil
}

type finishInput struct {
	SessionPath
	Body wire.FinishSession
}

func (a *API) finishSession(ctx context.Context, access perennial.Access, in *finishInput) (*sessionOutput, error) {
	if a.Sessions == nil {
		return nil, noSessions()
	}
	s, err := a.Sessions.FinishBound(ctx, access, connect.FinishRequest{ID: in.ID, Code: perennial.NewSecret(in.Body.Code), Verifier: perennial.NewSecret(in.Body.Verifier)})
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return nil, problem(perennial.CodeNotFound, "There is no such connect session.")
	}
	if err != nil {
		return nil, err
	}
	return &sessionOutput{sessionOf(s)}, nil
}

// requestOf returns the request of a tenant for a new session.
func requestOf(tenant string, b wire.NewSession) connect.SessionRequest {
	return connect.SessionRequest{Tenant: tenant, App: b.App, ConnectionID: b.ConnectionID, Host: b.Host, ReturnURL: b.ReturnURL,
		Scopes: b.Scopes, Challenge: b.Challenge, Mode: b.Mode, TenantTitle: b.TenantTitle, Lifetime: time.Duration(b.Lifetime) * time.Second}
}

// startedOf is the JSON of a new connect session, with its link.
func startedOf(s connect.Session) wire.ConnectSession {
	out := sessionOf(s.ConnectSession)
	out.Link = s.Link.Reveal()
	return out
}

// sessionOf is the JSON of a connect session, without its link.
func sessionOf(c perennial.ConnectSession) wire.ConnectSession {
	return wire.ConnectSession{ID: c.ID, App: c.App, ConnectionID: c.ConnectionID, Host: c.Host, ReturnURL: c.ReturnURL, Mode: c.Mode, Scopes: c.Scopes, Bound: c.Bound(),
		Outcome: c.Outcome, MissingScopes: c.Missing, ResultID: c.ResultID, Revocation: c.Revocation, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt}
}
