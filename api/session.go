package api

import (
	"context"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
)

// Sessions make connect links: connect.Sessions in production.
type Sessions interface {
	CreateSession(ctx context.Context, req connect.SessionRequest) (connect.Session, error)
	Session(ctx context.Context, id string) (perennial.ConnectSession, error)
}

// ConnectSession is a connect link, and what came of it.
type ConnectSession struct {
	_             struct{}                 `additionalProperties:"true"`
	ID            string                   `json:"id"`
	Link          string                   `json:"link,omitempty" doc:"For the customer only: whoever has it can connect an account to this tenant until it expires. It is shown this once"`
	App           string                   `json:"app"`
	ConnectionID  string                   `json:"connection_id,omitempty" doc:"That is to be reconnected; absent: a connect"`
	Host          string                   `json:"host,omitempty"`
	ReturnURL     string                   `json:"return_url,omitempty"`
	Mode          perennial.ConnectMode    `json:"mode" enum:"page,popup"`
	Scopes        []string                 `json:"scopes,omitempty" nullable:"false" doc:"That are required"`
	Outcome       perennial.ConnectOutcome `json:"outcome,omitempty" doc:"What came of it; absent: nothing yet"`
	MissingScopes []string                 `json:"missing_scopes,omitempty" nullable:"false"`
	ResultID      string                   `json:"result_id,omitempty" doc:"The connection that was stored"`
	CreatedAt     time.Time                `json:"created_at"`
	ExpiresAt     time.Time                `json:"expires_at"`
}

func showSession(c perennial.ConnectSession) ConnectSession {
	return ConnectSession{ID: c.ID, App: c.App, ConnectionID: c.ConnectionID, Host: c.Host, ReturnURL: c.ReturnURL, Mode: c.Mode, Scopes: c.Scopes,
		Outcome: c.Outcome, MissingScopes: c.Missing, ResultID: c.ResultID, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt}
}

type sessionOutput struct{ Body ConnectSession }

func (o *sessionOutput) withoutSecret() any {
	kept := *o
	kept.Body.Link = ""
	return kept
}

type newSession struct {
	App          string                `json:"app,omitempty" maxLength:"100" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"Of the configuration; not needed with connection_id"`
	ConnectionID string                `json:"connection_id,omitempty" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$" doc:"That is to be reconnected; absent: a connect"`
	Host         string                `json:"host,omitempty" maxLength:"255" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"The account's own host, where the provider has one for each"`
	ReturnURL    string                `json:"return_url,omitempty" maxLength:"2048" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"Where the customer goes afterwards; below one of connect.return_urls"`
	Scopes       []string              `json:"scopes,omitempty" maxItems:"100" nullable:"false" doc:"Asked for and required; the app's by default"`
	Mode         perennial.ConnectMode `json:"mode,omitempty" enum:"page,popup" doc:"page by default; a popup needs a return_url"`
	TenantTitle  string                `json:"tenant_title,omitempty" maxLength:"100" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]*$" doc:"What the page calls the tenant"`
	Lifetime     int                   `json:"lifetime,omitempty" minimum:"0" maximum:"86400" doc:"Seconds that the link lives, from 60; connect.lifetime by default"`
}

const sessionsPath = "/v1/connect-sessions"

func (a *API) registerSessions() {
	const tag = "connect sessions"
	register(a, operation{id: "createConnectSession", method: http.MethodPost, path: sessionsPath, tag: tag, scopes: changing, writes: true, repeatable: true, success: http.StatusCreated,
		summary:     "Make a link by which a customer connects or reconnects an account",
		description: "One call, one link, one consent: the tokens are stored and kept alive. The event connection.connected or connection.recovered tells the product."}, a.createSession)
	register(a, operation{id: "getConnectSession", method: http.MethodGet, path: sessionsPath + "/{id}", tag: tag, scopes: reading,
		summary: "Show what came of a connect link"}, a.getSession)
}

// noSessions is said where no connect pages are configured.
func noSessions() *Problem {
	return problem(perennial.CodeInvalid, "This server makes no connect links: connect.base_url is not configured.")
}

func (a *API) createSession(ctx context.Context, key perennial.APIKey, in *struct{ Body newSession }) (*sessionOutput, error) {
	if a.Sessions == nil {
		return nil, noSessions()
	}
	b := in.Body
	if b.ConnectionID != "" {
		if _, err := a.own(ctx, key, b.ConnectionID); err != nil {
			return nil, err
		}
	} else if _, ok := a.app(b.App); !ok {
		p := problem(perennial.CodeInvalid, "There is no such app; GET %s lists those that there are.", appsPath)
		p.Errors = []Invalid{{Location: "body.app", Message: "is not an app of the configuration"}}
		return nil, p
	}
	s, err := a.Sessions.CreateSession(ctx, connect.SessionRequest{Tenant: key.TenantID, App: b.App, ConnectionID: b.ConnectionID, Host: b.Host, ReturnURL: b.ReturnURL,
		Scopes: b.Scopes, Mode: b.Mode, TenantTitle: b.TenantTitle, Lifetime: time.Duration(b.Lifetime) * time.Second})
	if err != nil {
		return nil, err
	}
	out := &sessionOutput{showSession(s.ConnectSession)}
	out.Body.Link = s.Link.Reveal()
	return out, nil
}

// SessionPath names a connect session in a path.
type SessionPath struct {
	ID string `path:"id" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$" doc:"The connect session"`
}

func (a *API) getSession(ctx context.Context, key perennial.APIKey, in *SessionPath) (*sessionOutput, error) {
	if a.Sessions == nil {
		return nil, noSessions()
	}
	s, err := a.Sessions.Session(ctx, in.ID)
	if perennial.CodeOf(err) == perennial.CodeNotFound || err == nil && s.TenantID != key.TenantID {
		return nil, problem(perennial.CodeNotFound, "There is no such connect session.")
	}
	if err != nil {
		return nil, err
	}
	return &sessionOutput{showSession(s)}, nil
}
