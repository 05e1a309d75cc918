package client

import (
	"context"

	"github.com/perennial-oauth/perennial/client/wire"
)

// Backend is where a [Client] has its tokens from. It is bound to one tenant and
// answers for no other's connections. It is safe for concurrent use; the client
// calls it at most once at a time for each connection, but for Note.
type Backend interface {
	// Load reads a connection as it now is. An error of
	// [perennial.CodeNotFound] says that the tenant has none of that id; any
	// other, that it could not be asked.
	Load(ctx context.Context, id string) (TokenState, error)
	// Refresh asks for a token newer than generation and waits for what becomes
	// of it. nil means: load again, it may have moved. An error says that nothing
	// newer can be had now; the client still loads again. One of
	// [perennial.CodeGenerationAhead] says that generation is above the connection's,
	// as after a restore of the database. The end of ctx
	// ends the waiting, never a request that was sent to the provider.
	Refresh(ctx context.Context, id string, generation int64) error
	// Note writes down what became of a token. It is called for connections that
	// Load returned only.
	Note(ctx context.Context, id string, n Note) error
}

// Note is something that is written down about a connection.
type Note = wire.Note

// The notes.
const (
	NoteUsed         = wire.NoteUsed         // last_used_at, at most once an hour
	NoteUnauthorized = wire.NoteUnauthorized // last_unauthorized_at
)

// TokenState is what a backend knows of a connection and its access token.
type TokenState = wire.TokenState
