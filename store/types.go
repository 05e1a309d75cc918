package store

import (
	"time"

	"github.com/perennial-oauth/perennial"
)

// Verdict is the result of a claim.
type Verdict string

// The verdicts. Only VerdictClaimed allows a presentation.
const (
	VerdictClaimed      Verdict = "claimed"
	VerdictAlreadyFresh Verdict = "already_fresh" // the row's generation is above the requested one
	VerdictBusy         Verdict = "busy"          // an attempt is open; wait for its deadline
	VerdictWait         Verdict = "wait"          // next_attempt_at or confirm_at is in the future
	VerdictSetAside     Verdict = "set_aside"     // a newer token set waits to be stored
	VerdictTooSoon      Verdict = "too_soon"      // a forced refresh before the end of its floor
	VerdictRefused      Verdict = "refused"       // the status does not allow it
	VerdictNotFound     Verdict = "not_found"     // no such row
)

// ClaimRequest asks for the fence of one connection.
type ClaimRequest struct {
	ID string
	// Generation is the one to replace. A number above the row's counts as given out
	// before the database went backwards, so it must not come from outside. A number
	// above it by more than [perennial.MaxGenerationGap] is ignored.
	Generation int64
	Trigger    perennial.Trigger
	AttemptID  string        // unique for this call; a repeated claim with it is idempotent
	Lease      time.Duration // how long the attempt may stay open, from the database's now
	Class      perennial.ReplayClass
	// GraceWindow is how long a token of [perennial.ReplayGrace] may be presented again,
	// and AfterGrace its class from then on. Zero: as long as it takes.
	GraceWindow time.Duration
	AfterGrace  perennial.ReplayClass
	Floor       perennial.Floor // of forced refreshes
	// Ungated: the gate was not asked, because the row could not be claimed when it was
	// read. If it can be claimed now, the verdict is [VerdictWait], until now.
	Ungated bool
	// Judged is the UpdatedAt of the row for which the caller decided that its refresh
	// token may be presented in spite of a doubt. A claim beside Temporal
	// ([perennial.TriggerFallback]) needs it for a row with an attempt that was never
	// closed, or whose refresh token may have been spent.
	Judged time.Time
}

// Claim is the result of a claim. Connection is the row as it now is. If claimed, its
// Open field is this attempt.
type Claim struct {
	Verdict    Verdict
	Connection perennial.Connection
	Now        time.Time // the database's clock during the claim
	RetryAt    time.Time // busy, wait, set_aside, too_soon: when to ask again
	// RolledBack is true if the row was behind the requested generation, by at most
	// [perennial.MaxGenerationGap]: the database went backwards. The claim then marks
	// the row ambiguous and stores the number as the row's floor.
	RolledBack bool
}

// SealedTokens is a token set as a row keeps it, with its known times.
type SealedTokens struct {
	AccessTokenSealed     []byte
	RefreshTokenSealed    []byte
	RefreshTokenDigest    string
	TokenType             string
	Scopes                []string
	Metadata              map[string]string
	ExpiresAt             time.Time // zero: unknown
	RefreshTokenExpiresAt time.Time // zero: unknown
	GrantExpiresAt        time.Time // zero: unknown
	NextRefreshAt         time.Time
	FailingCode           string // if not empty: the set is stored, but health is failing with this code
}

// SaveRequest stores the tokens of a successful attempt.
type SaveRequest struct {
	ID            string
	AttemptID     string
	Generation    int64  // guard: the row's generation when claimed
	Digest        string // guard: digest of the refresh token that was presented
	NewGeneration int64  // the generation that the tokens were sealed for; above Generation

	// An empty TokenType, nil Scopes, and a zero RefreshTokenExpiresAt or GrantExpiresAt
	// keep the stored ones. Metadata is merged over the stored values.
	SealedTokens

	// MissingScopes, if not nil, replaces the row's: see [perennial.Connection].
	MissingScopes *[]string `json:",omitempty"`

	// AmbiguousSince, if not zero, says since when the refresh token in this set may
	// have been spent. It is not presented again before NextAttemptAt.
	AmbiguousSince time.Time
	NextAttemptAt  time.Time

	Ledger perennial.Attempt

	// Seal covers all other fields, once the request has left the process that received
	// the tokens (refresh.Authenticate).
	Seal []byte `json:",omitempty"`

	// Claimed is the row as this process claimed it, if it did. While nobody else has
	// written the row, the save is one statement. It is not part of the JSON.
	Claimed perennial.Connection `json:"-"`
}

// SaveResult is the result of a save.
type SaveResult struct {
	// Stored is false if the guards no longer match: the row has moved on, and the
	// tokens were not written.
	Stored bool
	// Recovered is true if the save turned reconnect_required into active.
	Recovered  bool
	Connection perennial.Connection // the row as it now is
}

// CloseRequest closes an attempt that brought no tokens. Its guards are the attempt id,
// the generation and the digest: a late close never touches a newer attempt or a newer
// token.
type CloseRequest struct {
	ID         string
	AttemptID  string
	Generation int64
	Digest     string

	Failed    bool          // counts as a failure of the connection
	Wait      time.Duration // next_attempt_at = database now + Wait; 0 clears it
	OwnWait   bool          // see [perennial.Connection.OwnWait]
	Ambiguous bool          // the token may have been spent
	Suspect   bool          // first definite refusal: record it
	// ConfirmAfter, with Suspect, sets confirm_at = database now + ConfirmAfter.
	ConfirmAfter time.Duration
	// FailingAfter is how many consecutive failures make health failing; 0: this close
	// never does.
	FailingAfter int
	FailingCode  string
	// Queued: the app may have caused the failure; the wait ends early when its circuit
	// closes.
	Queued bool
	// Terminal, if not empty, moves an active or paused connection to
	// reconnect_required with this reason. The app's refusal hold prevents that: then
	// the connection keeps its status, failing with [CodeRefusalHold].
	Terminal perennial.Reason
	// Kept is a reply that could not be read and may have tokens, or nil: only its Sealed
	// and Whole count. With Bar, the refresh token is not presented while the reply is
	// kept, until a day after the access token's end.
	Kept *KeptReply
	Bar  bool

	Ledger perennial.Attempt

	releasedSince bool // a release has begun since the attempt, see [Store.CloseAttempt]
}

// TokenWrite is a token set that comes from a consent (connect, reconnect), not from a
// refresh. It sets the row's Generation.
type TokenWrite struct {
	Generation int64 // the generation that the tokens were sealed for
	SealedTokens
	ClientIDDigest string
	Host           string // of the account's token endpoint; empty: as it was
	// Sole: the refresh token may belong to one live connection of the app only. Else the
	// write returns a [TokenInUseError].
	Sole     bool
	Unproven bool             // the tokens are a caller's: see [perennial.Connection.Proven]
	Status   perennial.Status // active, or reconnect_required with Reason
	Reason   perennial.Reason
}

// Filter narrows a list. Zero fields match everything.
type Filter struct {
	Status    perennial.Status
	Health    perennial.Health // matches active connections only; health means nothing for others
	Provider  string
	App       string
	AccountID string
	After     string // connection id: list those after it, ordered by id
	Limit     int    // 0: 100; at most 1,000
}
