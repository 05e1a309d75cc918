package client

import (
	"context"

	"github.com/perennial-oauth/perennial/client/wire"
)

// Backend supplies a [Client] with tokens. It is bound to one tenant and serves only
// that tenant's connections. It is safe for concurrent use. For each connection the
// client makes one call at a time, except Note.
type Backend interface {
	// Load reads a connection as it now is. An error of [words.CodeNotFound] means
	// that the tenant has no such connection; any other error means that the backend
	// could not find out.
	Load(ctx context.Context, id string) (TokenState, error)
	// Refresh asks for a token newer than generation and waits for the result. nil
	// means: load again, there may be a newer one. An error means that no newer token
	// can be had now; the client loads again all the same. An error of
	// [words.CodeGenerationAhead] means that generation is above the connection's,
	// as after a restore of the database. The end of ctx ends only the wait, never a
	// request that was sent to the provider.
	Refresh(ctx context.Context, id string, generation int64) error
	// Note records what happened to a token. The client calls it only for connections
	// that Load returned.
	Note(ctx context.Context, id string, n Note) error
}

// Note is something that a client records about a connection.
type Note = wire.Note

// The notes.
const (
	NoteUsed         = wire.NoteUsed         // last_used_at, at most once an hour
	NoteUnauthorized = wire.NoteUnauthorized // last_unauthorized_at
)

// TokenState is what a backend knows of a connection and its access token.
type TokenState = wire.TokenState
