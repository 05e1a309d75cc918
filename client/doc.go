// Package client gives product code a valid access token at any time, and an
// [http.Client] that uses it (RFC 6750) and mends a 401 once.
//
// A [Client] is bound to one tenant by its [Backend]. Package direct has a backend over
// the store and Temporal, package remote one over the HTTP API. [Client.Token] answers
// from memory if that was loaded less than a minute ago and the token is not due.
// Otherwise it asks the backend. If the backend's token is too old as well, it asks for
// a refresh, which all callers in all processes share. While the backend is out of
// reach, the token in memory serves until it expires. [Client.HTTPClient] does all this
// for an http.Client, and [Client.TokenSource] for golang.org/x/oauth2.
//
// [Client.ConnectBound] and [Client.ReconnectBound] make links by which a signed-in user
// connects an account, and [Client.Finish] stores the grant; [Client.Connect] and
// [Client.Reconnect] make links that anybody may use. [Client.Disconnect] ends a
// connection, also at the provider.
//
// Use [errors.As] to tell the errors apart: [ErrReconnectRequired],
// [ErrStillUnauthorized], [ErrUnavailable], [ErrNotFound], [ErrPaused],
// [ErrInvalid], [ErrOtherUser].
// No error and no log line holds a token or a link. docs/client.md says which requests
// are sent again, and when.
package client
