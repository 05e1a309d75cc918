package client

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
)

// ErrReconnectRequired means that only the customer can help: the grant is gone, and
// its last access token has expired. Show ReconnectURL.
type ErrReconnectRequired struct {
	Connection, Account string
	Reason              words.Reason
	Since               time.Time // by the backend's clock
	Words               words.StatusText
	// ReconnectURL is the product's own page, from connect.reconnect_url of the
	// configuration; [Client.Reconnect] makes the link for that page. It is empty if
	// none is configured, and so is HelpURL.
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

// Unwrap returns the [words.Code] as an error.
func (e *ErrReconnectRequired) Unwrap() error {
	return &words.Error{Code: words.CodeReconnectRequired, Message: e.Error()}
}

// ErrStillUnauthorized means that an API answered 401 to a token and then to a newer
// one. Reconnecting does not help: check whether this is the right account's
// connection, the right API, and enough scopes.
type ErrStillUnauthorized struct {
	Connection, Account string
	Method, Endpoint    string // the URL without user and query; empty after [Client.Refused]
	Generation          int64  // of the token that was refused last
	// ClockOffset is how far this process's clock is behind the backend's.
	ClockOffset time.Duration
	// RetryAt, if not zero, is when a newer token can be had again, by this process's
	// clock: a caller had this one refreshed ForcedAgo before, when none was due.
	RetryAt   time.Time
	ForcedAgo time.Duration
}

// Error implements error.
func (e *ErrStillUnauthorized) Error() string {
	what := fmt.Sprintf("%s %s answered 401 to a fresh token too", e.Method, e.Endpoint)
	if e.Endpoint == "" {
		what = "a fresh token was reported as refused too"
	}
	text := fmt.Sprintf("connection %s (account %s): %s (generation %d, clock offset %s): check that this connection belongs to that account and may do this",
		e.Connection, e.Account, what, e.Generation, e.ClockOffset.Round(time.Millisecond))
	if !e.RetryAt.IsZero() {
		text += fmt.Sprintf("; it was refreshed %s ago because a caller asked, and may be again at %s", e.ForcedAgo.Round(time.Second), e.RetryAt.UTC().Format(time.RFC3339))
	}
	return text
}

// Unwrap returns the [words.Code] as an error.
func (e *ErrStillUnauthorized) Unwrap() error {
	return &words.Error{Code: words.CodeInternal, Message: e.Error()}
}

// ErrUnavailable means that there is no valid token now, but that there may be one
// later without anybody's help; or that something else cannot be done now.
type ErrUnavailable struct {
	Connection string    // empty: it concerns none
	Doing      string    // what the caller wanted; empty: a token
	RetryAt    time.Time // by this process's clock
	Code       string    // why the last refresh failed, if known
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

// Unwrap returns the [words.Code] as an error, and the cause.
func (e *ErrUnavailable) Unwrap() error {
	return &words.Error{Code: words.CodeUnavailable, Message: e.Error(), Err: e.Err}
}

// ErrNotFound means that the tenant has no such connection, or no longer; or no such
// connect session.
type ErrNotFound struct {
	Connection   string
	Session      string // the session that was not found; empty: it was a connection
	Disconnected bool   // it was disconnected; connecting the account again revives it
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

// Unwrap returns the [words.Code] as an error.
func (e *ErrNotFound) Unwrap() error {
	code := words.CodeNotFound
	if e.Disconnected {
		code = words.CodeDisconnected
	}
	return &words.Error{Code: code, Message: e.Error()}
}

// ErrOtherUser means that the consent of a bound session was given, or came back, in the
// session of another user of the product than the one for whom the link was made. Nothing
// is stored; the user starts again.
type ErrOtherUser struct{ Session string }

// Error implements error.
func (e *ErrOtherUser) Error() string {
	return fmt.Sprintf("connect session %s was made for another user: nothing is connected; start again", e.Session)
}

// Unwrap returns the [words.Code] as an error.
func (e *ErrOtherUser) Unwrap() error {
	return &words.Error{Code: words.CodeOtherUser, Message: e.Error()}
}

// ErrInvalid means that the request, or the configuration of this client or its server,
// is wrong. Repeating it does not help before somebody corrects that.
type ErrInvalid struct {
	Connection string // empty: it concerns none
	Message    string // what is wrong
}

// Error implements error.
func (e *ErrInvalid) Error() string {
	if e.Connection != "" {
		return fmt.Sprintf("connection %s: %s", e.Connection, e.Message)
	}
	return e.Message
}

// Unwrap returns the [words.Code] as an error.
func (e *ErrInvalid) Unwrap() error {
	return &words.Error{Code: words.CodeInvalid, Message: e.Error()}
}

// ErrPaused means that the connection is paused until somebody resumes it.
type ErrPaused struct{ Connection string }

// Error implements error.
func (e *ErrPaused) Error() string {
	return fmt.Sprintf("connection %s is paused: resume it to use it", e.Connection)
}

// Unwrap returns the [words.Code] as an error.
func (e *ErrPaused) Unwrap() error {
	return &words.Error{Code: words.CodePaused, Message: e.Error()}
}
