package client

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
)

// Connector is a second interface of a [Backend] that makes connect links and
// disconnects connections: the backends of packages direct and remote implement it. It
// is bound to the same tenant. An error of [words.CodeNotFound] means that the
// tenant has no such connection or session, one of [words.CodeInvalid] that the
// request or the configuration is wrong; any other, that the backend could not find out
// or got no answer.
type Connector interface {
	// Connect makes a link by which a customer connects an account.
	Connect(ctx context.Context, req ConnectRequest) (ConnectSession, error)
	// Reconnect makes a link for the connection with that id.
	Reconnect(ctx context.Context, id string, req ReconnectRequest) (ConnectSession, error)
	// Session returns a connect session as it now is, without its link.
	Session(ctx context.Context, id string) (ConnectSession, error)
	// Finish stores the grant of a bound session. An error of [words.CodeOtherUser]
	// means that another user of the product gave the consent.
	Finish(ctx context.Context, req FinishRequest) (ConnectSession, error)
	// Disconnect ends a connection. If it has ended already, that is a success. nil
	// means that it has ended, whatever happened to the grant at the provider.
	Disconnect(ctx context.Context, id string) (words.Revocation, error)
}

// ConnectRequest asks for a link by which a customer connects an account. App is
// required.
type ConnectRequest struct {
	App string // an app of the configuration
	// Host is the account's own host, if the provider has one for each account:
	// "acme.zendesk.com".
	Host string
	// ReturnURL is where the page sends the customer at the end. It must be below one
	// of connect.return_urls. The page adds the parameters connect_outcome,
	// connect_session and, once connected, connection_id. Empty: the customer stays on
	// the page.
	ReturnURL string
	// Scopes are requested, and required in the grant. Defaults to the app's.
	Scopes []string
	// Challenge makes the session bound; [Client.ConnectBound] sets it.
	Challenge string
	// Mode defaults to page. A popup needs a ReturnURL, because it reports to that
	// URL's origin.
	Mode words.ConnectMode
	// TenantTitle is the tenant's name on the page: "Acme Inc.". At most 100
	// characters.
	TenantTitle string
	// Lifetime of the link, from 1 min to 24 h, in whole seconds, rounded up. Defaults
	// to connect.lifetime.
	Lifetime time.Duration
}

// ReconnectRequest asks for a link by which a customer connects the same account of a
// connection again. The zero value suffices. The fields are those of [ConnectRequest].
type ReconnectRequest struct {
	ReturnURL   string
	Scopes      []string
	Challenge   string // [Client.ReconnectBound] sets it
	Mode        words.ConnectMode
	TenantTitle string
	Lifetime    time.Duration
}

// ConnectSession is a connect link and its outcome.
type ConnectSession struct {
	ID string
	// Link leads to the page. Unless the session is bound, anybody who has it can connect
	// an account of their own to the tenant, until it expires or is used: give it only to the customer, and do not
	// store it. It redacts itself; Reveal returns it. [Client.Session] returns no link.
	Link words.Secret
	App  string
	// Connection is the id of the connection that is reconnected, or that was stored.
	// Empty: there is none yet.
	Connection string
	// Outcome is the outcome of the last consent; empty while none has ended.
	Outcome       words.ConnectOutcome
	MissingScopes []string  // with the outcome scopes_missing
	ExpiresAt     time.Time // when the link expires, by the database's clock
}

// askTimeout bounds a backend's call here: the API answers within 30 s.
const askTimeout = 35 * time.Second

// Connect makes a shareable link by which a customer connects an account: one call, one
// link, one consent, by whoever has the link. A page of your product for a signed-in user
// takes [Client.ConnectBound] instead. It does not contact the provider. An unused link expires by itself, so after
// a lost answer you may call Connect again.
//
// Its errors are [ErrInvalid] and [ErrUnavailable].
func (c *Client) Connect(ctx context.Context, req ConnectRequest) (ConnectSession, error) {
	return call(ctx, c, "make a connect link", ErrNotFound{}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		req.Lifetime = wholeSeconds(req.Lifetime)
		return b.Connect(ctx, req)
	})
}

// Reconnect makes a link by which a customer connects the connection's own account
// again, under the same id. A consent with another account changes nothing. The
// connection may be in any status; a disconnected one is revived.
//
// Its errors are [ErrNotFound], [ErrInvalid] and [ErrUnavailable].
func (c *Client) Reconnect(ctx context.Context, id string, req ReconnectRequest) (ConnectSession, error) {
	return call(ctx, c, "make a reconnect link", ErrNotFound{Connection: id}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		if id == "" { // the backend would take it for a connect
			return ConnectSession{}, words.Errorf(words.CodeNotFound, "a reconnect needs a connection")
		}
		req.Lifetime = wholeSeconds(req.Lifetime)
		return b.Reconnect(ctx, id, req)
	})
}

// wholeSeconds rounds up to whole seconds, which every backend can express. 0 stays 0:
// it means the default.
func wholeSeconds(d time.Duration) time.Duration {
	if cut := d.Truncate(time.Second); cut < d {
		return cut + time.Second
	}
	return d.Truncate(time.Second)
}

// Session returns the outcome of a link, by the id that the customer's browser brings
// back to ReturnURL. Do not trust anything else that the browser brings. After the
// outcome connected, Token returns a token of the new grant.
//
// Its errors are [ErrNotFound], [ErrInvalid] and [ErrUnavailable].
func (c *Client) Session(ctx context.Context, id string) (ConnectSession, error) {
	return call(ctx, c, "read a connect session", ErrNotFound{Session: id}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		s, err := b.Session(ctx, id)
		if s.Outcome == words.ConnectConnected {
			c.unlearn(s.Connection) // it has a new grant
		}
		return s, err
	})
}

// Disconnect ends a connection: it wipes the tokens, the workflow completes, and the
// provider is asked once to revoke the grant if it has an endpoint for that (RFC 7009).
// The [words.Revocation] is the result of that request and never an error. A
// connection that has ended already is a success. Once begun, Disconnect goes on even
// if ctx ends.
//
// Token then returns [ErrNotFound] with Disconnected. Another process may return the
// token in its memory for up to a minute. Connecting the account again revives the id.
//
// Its errors are [ErrNotFound], [ErrInvalid] and [ErrUnavailable]. After the last, the
// connection may have ended all the same.
func (c *Client) Disconnect(ctx context.Context, id string) (words.Revocation, error) {
	return call(ctx, c, "disconnect", ErrNotFound{Connection: id}, func(ctx context.Context, b Connector) (words.Revocation, error) {
		r, err := b.Disconnect(ctx, id)
		if code := words.CodeOf(err); code == "" || code == words.CodeNotFound {
			c.unlearn(id)
		}
		return r, err
	})
}

// unlearn makes the next caller ask the backend.
func (c *Client) unlearn(id string) {
	if known, ok := c.entries.Load(id); ok {
		c.drop(id, known.(*entry))
	}
}

// askAgain is when to try again if a backend could not do something.
const askAgain = 5 * time.Second

// call invokes the backend and maps its errors to the client's types. of is the error
// for CodeNotFound.
func call[T any](ctx context.Context, c *Client, doing string, of ErrNotFound, ask func(context.Context, Connector) (T, error)) (T, error) {
	var none T
	b, ok := c.Backend.(Connector)
	if !ok {
		return none, &ErrInvalid{Message: "this client's backend makes no connect links and ends no connections: use package direct's or package remote's"}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	got, err := ask(ctx, b)
	switch words.CodeOf(err) {
	case "":
		return got, nil
	case words.CodeNotFound:
		return none, &of
	case words.CodeOtherUser:
		return none, &ErrOtherUser{Session: of.Session}
	case words.CodeInvalid:
		return none, &ErrInvalid{Connection: of.Connection, Message: err.Error()}
	}
	return none, &ErrUnavailable{Connection: of.Connection, Doing: doing, RetryAt: c.Now().Add(askAgain).Round(0), Err: err}
}
