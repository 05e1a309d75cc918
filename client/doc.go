// Package client gives product code a valid access token whenever it asks, and
// an [http.Client] that uses it (RFC 6750) and mends a 401 once.
//
// A [Client] is bound to one tenant by its [Backend]: package direct is the one
// over the store and Temporal, package remote that over the HTTP API.
// [Client.Token] answers from memory where that was loaded less than a minute ago
// and the token is not due; else from the backend;
// where that is too old too, it asks for a refresh that all callers of all
// processes share. While the backend is out of reach, what is in memory serves
// until it expires. [Client.HTTPClient] does it all for an http.Client, and
// [Client.TokenSource] for golang.org/x/oauth2.
//
// [Client.Connect] and [Client.Reconnect] make links by which a customer connects an
// account; [Client.Disconnect] ends a connection, at the provider too.
//
// Errors are told apart with [errors.As]: [ErrReconnectRequired],
// [ErrStillUnauthorized], [ErrUnavailable], [ErrNotFound], [ErrPaused], [ErrInvalid].
// No error and no log line holds a token or a link. docs/client.md says which
// request is sent again when.
package client
