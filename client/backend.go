package client

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
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
type Note string

// The notes.
const (
	NoteUsed         Note = "used"         // last_used_at, at most once an hour
	NoteUnauthorized Note = "unauthorized" // last_unauthorized_at
)

// Held is what a backend holds of a connection. All times are by its clock, Now;
// zero means "not known".
type TokenState struct {
	Access     perennial.Secret
	TokenType  string // as it is stored; never a scheme of Authorization
	Generation int64

	App, Provider string // Provider is the catalogue's name
	Title         string // of the provider, as customers know it
	Account       string

	Status      perennial.Status
	Reason      perennial.Reason
	FailingCode string    // why the last refresh failed
	Since       time.Time // since when it is reconnect_required

	Now         time.Time // read after the call began and before it ended
	ExpiresAt   time.Time // of the access token
	RefreshedAt time.Time // when this generation was stored
	DueAt       time.Time // next_refresh_at: from then on a newer one may be there
	RetryAt     time.Time // no refresh before it
	LastUsedAt  time.Time

	// KillsAccess: a refresh ends this access token at once, so that memory never
	// answers without asking whether the generation still holds.
	KillsAccess bool

	ReconnectURL, HelpURL string
}
