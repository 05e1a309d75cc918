package client

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
)

// ErrReconnectRequired says that only the customer can help: the grant is gone,
// and nothing is left of its access token. Show ReconnectURL.
type ErrReconnectRequired struct {
	Connection, Account string
	Reason              perennial.Reason
	Since               time.Time // by the backend's clock
	Words               perennial.StatusText
	// ReconnectURL is the product's own page, by connect.reconnect_url of the
	// configuration; [Client.Reconnect] makes the link that it leads to. Empty where
	// none is configured, as HelpURL.
	ReconnectURL string
	HelpURL      string
}

// Error implements error.
func (e *ErrReconnectRequired) Error() string {
	text := fmt.Sprintf("connection %s (account %s): %s", e.Connection, e.Account, e.Words)
	if !e.Since.IsZero() {
		text += ", since " + e.Since.UTC().Format(time.RFC3339)
	}
	if e.ReconnectURL != "" {
		text += "; reconnect at " + e.ReconnectURL
	}
	return text
}

// Unwrap gives the error its [perennial.Code].
func (e *ErrReconnectRequired) Unwrap() error {
	return &perennial.Error{Code: perennial.CodeReconnectRequired, Message: e.Error()}
}

// ErrStillUnauthorized says that an API refused a token with 401, and a newer one
// too. It is a fault of mapping, storage or permission, not one that reconnecting
// mends: is it the right account's connection, the right API, enough scopes?
type ErrStillUnauthorized struct {
	Connection, Account string
	Method, Endpoint    string // without user and query
	Generation          int64  // of the token that was refused last
	// ClockOffset is by how much this process's clock is behind the backend's.
	ClockOffset time.Duration
}

// Error implements error.
func (e *ErrStillUnauthorized) Error() string {
	return fmt.Sprintf("connection %s (account %s): %s %s answered 401 to a fresh token too (generation %d, clock offset %s): check that this connection belongs to that account and may do this",
		e.Connection, e.Account, e.Method, e.Endpoint, e.Generation, e.ClockOffset.Round(time.Millisecond))
}

// Unwrap gives the error its [perennial.Code].
func (e *ErrStillUnauthorized) Unwrap() error {
	return &perennial.Error{Code: perennial.CodeInternal, Message: e.Error()}
}

// ErrUnavailable says that there is no valid token now, and that there may be one
// later without anybody's doing; or that something else cannot be done now.
type ErrUnavailable struct {
	Connection string    // empty: it is about none
	Doing      string    // what was asked for; empty: a token
	RetryAt    time.Time // by this process's clock
	Code       string    // why the last refresh failed, where that is known
	Err        error     // may be nil
}

// Error implements error.
func (e *ErrUnavailable) Error() string {
	text := fmt.Sprintf("connection %s has no valid access token now", e.Connection)
	if e.Doing != "" {
		text = "cannot " + e.Doing + " now"
		if e.Connection != "" {
			text = "connection " + e.Connection + ": " + text
		}
	}
	text += "; try again at " + e.RetryAt.UTC().Format(time.RFC3339)
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the error its [perennial.Code], and its cause.
func (e *ErrUnavailable) Unwrap() error {
	return &perennial.Error{Code: perennial.CodeUnavailable, Message: e.Error(), Err: e.Err}
}

// ErrNotFound says that the tenant has no such connection, or no longer; or no
// such connect session.
type ErrNotFound struct {
	Connection   string
	Session      string // that was looked for; empty: a connection was
	Disconnected bool   // it was ended; connecting the account again revives it
}

// Error implements error.
func (e *ErrNotFound) Error() string {
	if e.Disconnected {
		return fmt.Sprintf("connection %s was disconnected: connect the account again", e.Connection)
	}
	if e.Session != "" {
		return fmt.Sprintf("there is no connect session %q of this tenant", e.Session)
	}
	return fmt.Sprintf("there is no connection %q of this tenant", e.Connection)
}

// Unwrap gives the error its [perennial.Code].
func (e *ErrNotFound) Unwrap() error {
	code := perennial.CodeNotFound
	if e.Disconnected {
		code = perennial.CodeDisconnected
	}
	return &perennial.Error{Code: code, Message: e.Error()}
}

// ErrInvalid says that a request, or what this client and its server are configured
// with, is wrong: asking again does not help before that is corrected.
type ErrInvalid struct {
	Connection string // empty: it is about none
	Message    string // what is wrong
}

// Error implements error.
func (e *ErrInvalid) Error() string {
	if e.Connection != "" {
		return fmt.Sprintf("connection %s: %s", e.Connection, e.Message)
	}
	return e.Message
}

// Unwrap gives the error its [perennial.Code].
func (e *ErrInvalid) Unwrap() error {
	return &perennial.Error{Code: perennial.CodeInvalid, Message: e.Error()}
}

// ErrPaused says that the connection is paused until somebody resumes it.
type ErrPaused struct{ Connection string }

// Error implements error.
func (e *ErrPaused) Error() string {
	return fmt.Sprintf("connection %s is paused: resume it to use it", e.Connection)
}

// Unwrap gives the error its [perennial.Code].
func (e *ErrPaused) Unwrap() error {
	return &perennial.Error{Code: perennial.CodePaused, Message: e.Error()}
}
