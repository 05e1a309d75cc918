package wire

import (
	"time"

	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/client/words"
)

// TokenState is what is known of a connection's access token. All times are by the
// clock of the one who filled it in, Now; zero means "not known".
type TokenState struct {
	_ struct{} `additionalProperties:"true"`

	// Access is the token itself. It is never in the state's JSON: see [Token].
	Access words.Secret `json:"-"`

	ID          string       `json:"id"`
	App         string       `json:"app"`
	Provider    string       `json:"provider"` // the catalogue's name
	Title       string       `json:"title" doc:"Of the provider, as customers know it"`
	Account     string       `json:"account_id"`
	Status      words.Status `json:"status" enum:"active,reconnect_required,paused,disconnected"`
	Reason      words.Reason `json:"reason,omitempty"`
	Since       time.Time    `json:"since,omitzero" doc:"Since when it is reconnect_required"`
	FailingCode string       `json:"failing_code,omitempty" doc:"Why the last refresh failed"`

	ReconnectURL string `json:"reconnect_url,omitempty" doc:"Show it to the customer"`
	HelpURL      string `json:"help_url,omitempty"`

	// TokenType is what the row has. The API and the client say Bearer instead.
	TokenType  string `json:"token_type" doc:"Always Bearer: the scheme of Authorization (RFC 6750)"`
	Generation int64  `json:"generation" doc:"Of the token; give it as if_generation where an API answered 401 to it"`

	// Now is read after the reading of the state began and before it ended.
	Now         time.Time `json:"now"`
	ExpiresAt   time.Time `json:"expires_at,omitzero" doc:"Absent: not known"`
	RefreshedAt time.Time `json:"refreshed_at,omitzero" doc:"When this generation was stored"`
	DueAt       time.Time `json:"due_at,omitzero" doc:"From then on a newer one may be there"`
	RetryAt     time.Time `json:"retry_at,omitzero" doc:"No refresh before it"`
	ForcedAt    time.Time `json:"forced_at,omitzero" doc:"A caller had it refreshed then, before one was due: retry_at is when callers may again. A refresh that is due does not wait"`
	LastUsedAt  time.Time `json:"last_used_at,omitzero"`

	// KillsAccess: a refresh ends this access token at once, so memory must never answer
	// without asking whether the generation still holds.
	KillsAccess bool `json:"refresh_ends_access_token,omitempty" doc:"A refresh ends this token at once: do not keep it"`

	// API is how the provider's API refuses tokens, if the configuration says otherwise
	// than the client's own table.
	API *resource.Server `json:"api,omitempty" doc:"How the provider's API refuses tokens, where the configuration knows more than the client"`
}

// Floored returns how long callers still wait before they may have the token refreshed
// again, elapsed after the state was read; zero: they need not wait for the refreshes
// that callers asked for before.
func (s *TokenState) Floored(elapsed time.Duration) time.Duration {
	if s.ForcedAt.IsZero() {
		return 0
	}
	return max(s.RetryAt.Sub(s.Now)-elapsed, 0)
}

// Forever stands for an expiry that nobody knows.
const Forever = time.Duration(1<<63 - 1)

// minShare bounds the life that a caller may ask to be left: no more than this part of
// the token's whole life.
const minShare = 10

// Left returns the rest of the token's life, elapsed after the state was read. Negative:
// it has expired. [Forever]: nobody knows its expiry.
func (s *TokenState) Left(elapsed time.Duration) time.Duration {
	if s.ExpiresAt.IsZero() {
		return Forever
	}
	return s.ExpiresAt.Sub(s.Now) - elapsed
}

// MinLife returns the life that must be left for a caller who asks for minTTL: at most a
// tenth of the token's whole life, and not more than is left when it is due, because a
// provider may refuse to refresh it earlier. It is minTTL if the whole life is not known because
// RefreshedAt is zero, and zero if the expiry is not known.
func (s *TokenState) MinLife(minTTL time.Duration) time.Duration {
	if s.ExpiresAt.IsZero() {
		return 0
	}
	if buffer := s.ExpiresAt.Sub(s.DueAt); !s.DueAt.IsZero() && buffer > 0 {
		minTTL = min(minTTL, buffer)
	}
	if life := s.ExpiresAt.Sub(s.RefreshedAt); !s.RefreshedAt.IsZero() && life > 0 {
		return min(minTTL, life/minShare)
	}
	return minTTL
}

// Usable reports whether the token may be handed out at all, elapsed after the state was
// read: it lives, its generation is above beyond, and its connection's status allows it.
// What is left of an ended grant may be handed out too.
func (s *TokenState) Usable(elapsed time.Duration, beyond int64) bool {
	return s.Generation > beyond && !s.Access.IsZero() && s.Left(elapsed) > 0 &&
		(s.Status == words.StatusActive || s.Status == words.StatusReconnectRequired)
}

// Enough reports whether the token may be handed out without a refresh first: it is
// usable, and minTTL of its life, or what [TokenState.MinLife] makes of that, is left.
func (s *TokenState) Enough(elapsed time.Duration, beyond int64, minTTL time.Duration) bool {
	return s.Usable(elapsed, beyond) && s.Left(elapsed) >= s.MinLife(minTTL)
}

// Token is one valid access token.
type Token struct {
	_           struct{}   `additionalProperties:"true"`
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type" doc:"Always Bearer: the scheme of Authorization (RFC 6750)"`
	ExpiresIn   int64      `json:"expires_in,omitempty" doc:"Seconds left, rounded down; absent: not known"`
	State       TokenState `json:"connection"`
}

// TokenOf is the token of a state, which must be usable.
func TokenOf(s TokenState) Token {
	t := Token{AccessToken: s.Access.Reveal(), TokenType: words.TokenTypeBearer, State: s}
	t.State.TokenType = words.TokenTypeBearer
	if left := s.Left(0); left != Forever {
		t.ExpiresIn = int64(left / time.Second)
	}
	return t
}

// Note is something that is written down about a connection.
type Note string

// The notes.
const (
	NoteUsed         Note = "used"         // last_used_at, at most once an hour
	NoteUnauthorized Note = "unauthorized" // last_unauthorized_at
)

// NoteBody is the body of POST /v1/connections/{id}/notes.
type NoteBody struct {
	Note Note `json:"note" enum:"used,unauthorized" doc:"used: it was handed out; unauthorized: an API answered 401 to it"`
}

// RefreshBody is the body of POST /v1/connections/{id}/refresh.
type RefreshBody struct {
	IfGeneration int64 `json:"if_generation,omitempty" minimum:"0" doc:"Only if this is still the generation, however young its token is; absent: unless the token is young"`
}
