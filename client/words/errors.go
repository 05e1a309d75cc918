package words

import (
	"errors"
	"fmt"
)

// Code names a kind of [Error]. It is stable and meant for programs.
type Code string

// The codes.
const (
	CodeInvalid           Code = "invalid"            // the request or setting is wrong
	CodeNotFound          Code = "not_found"          // no such connection, app or provider
	CodeConflict          Code = "conflict"           // the row has changed: read it and decide again
	CodeAccountMismatch   Code = "account_mismatch"   // a reconnect with another account
	CodeReconnectRequired Code = "reconnect_required" // only the user can repair it
	CodeOtherUser         Code = "other_user"         // a consent that another user of the product gave
	CodePaused            Code = "paused"
	CodeDisconnected      Code = "disconnected"
	CodeGenerationAhead   Code = "generation_ahead" // the caller's generation is above the row's, see [GenerationAheadError]
	CodeUnavailable       Code = "unavailable"      // try again later
	CodeSealed            Code = "sealed"           // a sealed value does not open with these keys
	CodeSchema            Code = "schema"           // the database schema is outside this program's range
	CodeInternal          Code = "internal"
)

// Error is an error for a person or a calling program: a code, and a message that says
// what to do. It never holds a token or a provider's body. Err, if set, is the cause
// and part of Error().
type Error struct {
	Code    Code
	Message string
	Err     error
}

// Errorf makes an [Error]. A %w verb in format becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first [Error] in err's chain, [CodeInternal] if there
// is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// GenerationAheadError means that a caller named a generation above the row's. Nothing
// was refreshed. An honest caller meets it after a restore of the database: it must
// forget its token and that token's generation, and read the connection again.
type GenerationAheadError struct {
	Connection string
	Generation int64 // the row's
}

// Error implements error.
func (e *GenerationAheadError) Error() string {
	return fmt.Sprintf("connection %s is at generation %d, and the generation that was asked for is above it: forget that token and get the current one", e.Connection, e.Generation)
}

// Unwrap returns the [Code] as an error.
func (e *GenerationAheadError) Unwrap() error {
	return &Error{Code: CodeGenerationAhead, Message: e.Error()}
}
