package client

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
)

// Connector is what a [Backend] is too where it makes connect links and ends
// connections: those of package direct and package remote do. It is bound to the
// same tenant. An error of [perennial.CodeNotFound] says that the tenant has no
// such connection or session, one of [perennial.CodeInvalid] that the request or
// the configuration is wrong; any other, that it could not be asked or did not
// answer.
type Connector interface {
	// Connect makes a link by which a customer connects an account.
	Connect(ctx context.Context, req ConnectRequest) (ConnectSession, error)
	// Reconnect makes one for the connection of that id.
	Reconnect(ctx context.Context, id string, req ReconnectRequest) (ConnectSession, error)
	// Session is a connect session as it now is, without its link.
	Session(ctx context.Context, id string) (ConnectSession, error)
	// Disconnect ends a connection; one that has ended is a success. nil means
	// that it has ended, whatever became of the grant at the provider.
	Disconnect(ctx context.Context, id string) (perennial.Revocation, error)
}

// ConnectRequest asks for a link by which a customer connects an account. App is
// needed.
type ConnectRequest struct {
	App string // of the configuration
	// Host of the account, where the provider has one for each:
	// "acme.zendesk.com".
	Host string
	// ReturnURL is where the customer goes afterwards; it must be below one of
	// connect.return_urls. It gets the parameters connect_outcome, connect_session
	// and, once connected, connection_id. Empty: nowhere.
	ReturnURL string
	// Scopes are asked for and required. Defaults to the app's.
	Scopes []string
	// Mode defaults to page. A popup needs a ReturnURL: its origin is told.
	Mode perennial.ConnectMode
	// TenantTitle is what the page calls the tenant: "Acme Inc.". At most 100
	// characters.
	TenantTitle string
	// Lifetime of the link, from 1 min to 24 h, in whole seconds, rounded up.
	// Defaults to connect.lifetime.
	Lifetime time.Duration
}

// ReconnectRequest asks for a link by which a customer connects a connection's
// own account again. The zero value is enough; the fields are those of
// [ConnectRequest].
type ReconnectRequest struct {
	ReturnURL   string
	Scopes      []string
	Mode        perennial.ConnectMode
	TenantTitle string
	Lifetime    time.Duration
}

// ConnectSession is a connect link and what came of it.
type ConnectSession struct {
	ID string
	// Link leads to the page. Whoever has it can connect an account of theirs to
	// the tenant until it expires or was used: give it to the customer only, and
	// keep it nowhere. It redacts itself; Reveal gives it. What [Client.Session]
	// returns has none.
	Link perennial.Secret
	App  string
	// Connection is the id of the connection that is reconnected, or that was
	// stored; empty: none yet.
	Connection string
	// Outcome of the last consent; empty while none has ended.
	Outcome       perennial.ConnectOutcome
	MissingScopes []string  // of the outcome scopes_missing
	ExpiresAt     time.Time // of the link, by the database's clock
}

// askTimeout bounds what a backend is asked here: the API answers within 30 s.
const askTimeout = 35 * time.Second

// Connect makes a link by which a customer connects an account: one call, one
// link, one consent. Nothing is asked of the provider yet, and a link that nobody
// uses ends by itself: a call whose answer was lost may be repeated.
//
// Its errors are [ErrInvalid] and [ErrUnavailable].
func (c *Client) Connect(ctx context.Context, req ConnectRequest) (ConnectSession, error) {
	return call(ctx, c, "make a connect link", ErrNotFound{}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		req.Lifetime = wholeSeconds(req.Lifetime)
		return b.Connect(ctx, req)
	})
}

// Reconnect makes a link by which a customer connects the connection's own account
// again, at the same id: a consent of another account changes nothing. The
// connection may be in any status; a disconnected one is revived.
//
// Its errors are [ErrNotFound], [ErrInvalid] and [ErrUnavailable].
func (c *Client) Reconnect(ctx context.Context, id string, req ReconnectRequest) (ConnectSession, error) {
	return call(ctx, c, "make a reconnect link", ErrNotFound{Connection: id}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		if id == "" { // which would be a connect
			return ConnectSession{}, perennial.Errorf(perennial.CodeNotFound, "a reconnect needs a connection")
		}
		req.Lifetime = wholeSeconds(req.Lifetime)
		return b.Reconnect(ctx, id, req)
	})
}

// wholeSeconds is what every backend can say. It rounds up: 0 is the default.
func wholeSeconds(d time.Duration) time.Duration {
	if cut := d.Truncate(time.Second); cut < d {
		return cut + time.Second
	}
	return d.Truncate(time.Second)
}

// Session tells what came of a link, by the id that the customer's browser brings
// back to ReturnURL. What else the browser brings is not to be believed. After the
// outcome connected, Token is one of the new grant.
//
// Its errors are [ErrNotFound], [ErrInvalid] and [ErrUnavailable].
func (c *Client) Session(ctx context.Context, id string) (ConnectSession, error) {
	return call(ctx, c, "read a connect session", ErrNotFound{Session: id}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		s, err := b.Session(ctx, id)
		if s.Outcome == perennial.ConnectConnected {
			c.unlearn(s.Connection) // its grant is a new one
		}
		return s, err
	})
}

// Disconnect ends a connection: its tokens are wiped, its workflow completes, and
// the grant is revoked at the provider where it has an endpoint for that (RFC
// 7009). The provider is asked once; the [perennial.Revocation] says what came of
// it, and is no error. A connection that has ended already is a success. Once
// begun it goes on where ctx ends.
//
// Token is [ErrNotFound] with Disconnected then; another process may hand out what
// it has in memory for up to a minute. Connecting the account again revives the id.
//
// Its errors are [ErrNotFound], [ErrInvalid] and [ErrUnavailable]; after the last
// the connection may have ended all the same.
func (c *Client) Disconnect(ctx context.Context, id string) (perennial.Revocation, error) {
	return call(ctx, c, "disconnect", ErrNotFound{Connection: id}, func(ctx context.Context, b Connector) (perennial.Revocation, error) {
		r, err := b.Disconnect(ctx, id)
		if code := perennial.CodeOf(err); code == "" || code == perennial.CodeNotFound {
			c.unlearn(id)
		}
		return r, err
	})
}

// unlearn has the next caller ask the backend.
func (c *Client) unlearn(id string) {
	if known, ok := c.entries.Load(id); ok {
		c.drop(id, known.(*entry))
	}
}

// askAgain is when to ask again for what a backend could not do.
const askAgain = 5 * time.Second

// asked asks a backend and gives its errors their types; of is the one of what it
// does not find.
func call[T any](ctx context.Context, c *Client, doing string, of ErrNotFound, ask func(context.Context, Connector) (T, error)) (T, error) {
	var none T
	b, ok := c.Backend.(Connector)
	if !ok {
		return none, &ErrInvalid{Message: "this client's backend makes no connect links and ends no connections: use package direct's or package remote's"}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	got, err := ask(ctx, b)
	switch perennial.CodeOf(err) {
	case "":
		return got, nil
	case perennial.CodeNotFound:
		return none, &of
	case perennial.CodeInvalid:
		return none, &ErrInvalid{Connection: of.Connection, Message: err.Error()}
	}
	return none, &ErrUnavailable{Connection: of.Connection, Doing: doing, RetryAt: c.Now().Add(askAgain).Round(0), Err: err}
}
