package store

import (
	"time"

	"github.com/perennial-oauth/perennial"
)

// Verdict is the answer to a claim.
type Verdict string

// The verdicts. Only VerdictClaimed allows a presentation.
const (
	VerdictClaimed      Verdict = "claimed"
	VerdictAlreadyFresh Verdict = "already_fresh" // the row's generation is past the one asked for
	VerdictBusy         Verdict = "busy"          // a live attempt is open; wait for its deadline
	VerdictWait         Verdict = "wait"          // next_attempt_at or confirm_at lies ahead
	VerdictRefused      Verdict = "refused"       // the status does not allow it
	VerdictNotFound     Verdict = "not_found"     // no such row
)

// ClaimRequest asks for the fence of one connection.
type ClaimRequest struct {
	ID string
	// Generation is the one to replace. Above the row's it is believed to have been
	// given out before the database went backwards, so it must not come from outside;
	// above by more than [perennial.MaxGenerationGap] it is not believed.
	Generation int64
	Trigger    perennial.Trigger
	AttemptID  string        // unique for this call; claiming again with it is idempotent
	Lease      time.Duration // how long the attempt may stay open, from the database's now
	Class      perennial.ReplayClass
	// Ungated: the gate was not asked, because the row as it was read could not be
	// claimed. Where that has changed meanwhile the answer is [VerdictWait], until now.
	Ungated bool
}

// Claim is the answer. Connection is the row as it now is; when claimed, its
// Open field is this attempt.
type Claim struct {
	Verdict    Verdict
	Connection perennial.Connection
	Now        time.Time // the database's clock during the claim
	RetryAt    time.Time // busy, wait: when to ask again
	// RolledBack is true when the row was behind the generation asked for, by at most
	// [perennial.MaxGenerationGap]: the database went backwards. The claim then marks
	// the row ambiguous and keeps the number as the row's floor.
	RolledBack bool
}

// SaveRequest stores the tokens of a successful attempt.
type SaveRequest struct {
	ID            string
	AttemptID     string
	Generation    int64  // guard: the row's generation when claimed
	Digest        string // guard: of the refresh token that was presented
	NewGeneration int64  // what the tokens were sealed for; above Generation

	AccessTokenSealed  []byte
	RefreshTokenSealed []byte
	RefreshTokenDigest string // of the refresh token now stored
	TokenType          string
	Scopes             []string          // nil keeps
	Metadata           map[string]string // merged over what is there

	ExpiresAt             time.Time // zero: unknown
	RefreshTokenExpiresAt time.Time // zero keeps
	GrantExpiresAt        time.Time // zero keeps
	NextRefreshAt         time.Time
	FailingCode           string // not empty: stored, but health is failing for this cause

	// AmbiguousSince, if not zero, says that the refresh token now stored may have
	// been spent since; it is not presented again before NextAttemptAt.
	AmbiguousSince time.Time
	NextAttemptAt  time.Time

	Ledger perennial.Attempt

	// Claimed is the row as it was claimed, where this process did that. While
	// nobody else has written it, the save is one statement. It is not kept.
	Claimed perennial.Connection `json:"-"`
}

// Saved is what a save did.
type SaveResult struct {
	// Stored is false when the guards no longer match: the row moved on and
	// the tokens were not written.
	Stored bool
	// Recovered is true when the save healed a reconnect_required.
	Recovered  bool
	Connection perennial.Connection // the row as it now is
}

// CloseRequest ends an attempt that brought no tokens. Its guards are the
// attempt id, the generation and the digest: a late close never touches a newer
// attempt or a newer token.
type CloseRequest struct {
	ID         string
	AttemptID  string
	Generation int64
	Digest     string

	Failed    bool          // counts as a failure of the connection
	Wait      time.Duration // next_attempt_at = database now + Wait; 0 clears it
	Ambiguous bool          // the token may have been spent
	Suspect   bool          // first definite refusal: remember it
	// ConfirmAfter, with Suspect, sets confirm_at = database now + ConfirmAfter.
	ConfirmAfter time.Duration
	// FailingAfter is the count of consecutive failures from which health is
	// failing; 0 means never by this close.
	FailingAfter int
	FailingCode  string
	// Queued: what failed may be the app's fault; the wait ends early when its
	// circuit closes.
	Queued bool
	// Terminal, when not empty, moves an active or paused connection to
	// reconnect_required with this reason, unless the app's hold_terminal keeps it
	// back: then it stays as it is, failing with [CodeRefusalHold].
	Terminal perennial.Reason

	Ledger perennial.Attempt
}

// TokenWrite is a token set that comes from a consent, not from a refresh:
// connect, reconnect. It becomes the row's Generation.
type TokenWrite struct {
	Generation            int64 // what the tokens were sealed for
	AccessTokenSealed     []byte
	RefreshTokenSealed    []byte
	RefreshTokenDigest    string
	ClientIDDigest        string
	TokenType             string
	Scopes                []string
	Metadata              map[string]string
	ExpiresAt             time.Time
	RefreshTokenExpiresAt time.Time
	GrantExpiresAt        time.Time
	NextRefreshAt         time.Time
	Status                perennial.Status // active, or reconnect_required with Reason
	Reason                perennial.Reason
	FailingCode           string
}

// Filter narrows a list; zero fields match everything.
type Filter struct {
	Status    perennial.Status
	Health    perennial.Health // matches active connections only: of others it says nothing
	Provider  string
	App       string
	TenantID  string
	AccountID string
	After     string // connection id: the page after it; ids are listed in order
	Limit     int    // 0: 100; at most 1,000
}
