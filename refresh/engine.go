package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// Store is the fence and the ledger: [store.Store] in production. Many processes may
// call every method concurrently, and each is one short transaction.
type Store interface {
	Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	// Admit asks whether the app's circuit and limits allow a refresh now.
	Admit(ctx context.Context, req store.AdmitRequest) (store.Admission, error)
	// NoteReply reports the outcome of a presentation to the app's circuit and limits.
	NoteReply(ctx context.Context, req store.NoteRequest) error
	Claim(ctx context.Context, req store.ClaimRequest) (store.Claim, error)
	// FastClaim reads a healthy connection, asks the gate and claims, all at once. If
	// ok is false, anything needs a closer look, and nothing was done.
	FastClaim(ctx context.Context, app string, req store.ClaimRequest) (claim store.Claim, ok bool, err error)
	// FastAdmit asks the gate before FastClaim, for an app with a limit.
	FastAdmit(ctx context.Context, req store.FastAdmitRequest) (a store.Admission, ok bool, err error)
	// MarkSending fails if the attempt is no longer open or past its deadline.
	MarkSending(ctx context.Context, id, attemptID string) error
	// Save is idempotent: repeated after a lost reply, it returns the same.
	Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error)
	CloseAttempt(ctx context.Context, req store.CloseRequest) (perennial.Connection, bool, error)
	// Attempt returns a line of the ledger.
	Attempt(ctx context.Context, connectionID, id string) (perennial.Attempt, bool, error)
	// MarkSetAside makes the row say that a token set waits to be stored.
	MarkSetAside(ctx context.Context, req store.SetAsideRequest) (perennial.Connection, error)
	// ReturnProbe gives back a probe whose canary was admitted and presented nothing.
	ReturnProbe(ctx context.Context, req store.ReturnProbeRequest) error
	// ClientSecret returns which of an app's client secrets its provider accepts, as far
	// as that was learnt.
	ClientSecret(ctx context.Context, app string) (store.ClientSecret, error)
	// BeginSecretTrial lets one connection of an app at a time try the other client
	// secrets with its refresh token.
	BeginSecretTrial(ctx context.Context, req store.SecretTrialRequest) (store.SecretTrial, error)
	// EndSecretTrial ends the trial and keeps which secret was accepted, by its digest.
	EndSecretTrial(ctx context.Context, c perennial.Connection, digest string) error
	// KeepSpare keeps a token set that Save did not store, and Spare returns it.
	KeepSpare(ctx context.Context, req store.SaveRequest) (kept bool, err error)
	Spare(ctx context.Context, id string) (store.Spare, bool, error)
	// GrantReplaced reports whether a newer grant of the account may have ended c's.
	GrantReplaced(ctx context.Context, c perennial.Connection) (bool, error)
	// AccountInUse reports whether any tenant has a working connection of the account.
	AccountInUse(ctx context.Context, app, account string) (bool, error)
}

// Presenter presents one refresh token to one token endpoint, once. It must call send
// immediately before the first byte leaves, and must send nothing if send returns an
// error.
type Presenter interface {
	Refresh(ctx context.Context, app provider.App, secret, refreshToken perennial.Secret, send func(context.Context) error) provider.Reply
}

// Revoker revokes a token at its provider; provider.Client in production.
type Revoker interface {
	Revoke(ctx context.Context, app provider.App, token perennial.Secret) error
}

// Apps finds an app by name. An unknown name is an error.
type Apps interface {
	App(name string) (provider.App, error)
}

// Sealer seals and opens tokens: [seal.Keyring] in production.
type Sealer interface {
	Seal(b seal.Binding, s perennial.Secret) ([]byte, error)
	Open(b seal.Binding, sealed []byte) (perennial.Secret, error)
}

// Spool keeps sealed token sets outside of the store; spool.Spool in production.
type Spool interface {
	Ready() error // proves that the spool would take a set
	Add(req store.SaveRequest) error
	Drop(req store.SaveRequest) error
	Has(connectionID string, generation int64) (bool, error)
	List() ([]store.SaveRequest, error) // all readable sets, with an error for the others
}

// Config holds an engine's dependencies. All are required but those with a default.
type Config struct {
	Store     Store
	Presenter Presenter
	Revoker   Revoker // may be nil: then tokens that arrive after a disconnect live on at the provider
	Apps      Apps
	Sealer    Sealer
	Spool     Spool         // may be nil: then a process that dies while the store is away loses a reply
	Timing    timing.Config // zero fields default, see [timing.Config]
	Observer  Observer      // may be nil
	// MayPresent returns an error while nothing may be presented, because the database
	// and Temporal do not belong together. Nil: always. It must not block.
	MayPresent func() error
	Log        *slog.Logger // Defaults to discarding.
}

// Observer receives every result of the engine, for metrics. It must not block.
type Observer interface{ Observe(o Observation) }

// Observation is one result.
type Observation struct {
	App        string
	Trigger    perennial.Trigger
	Presented  bool // the fence was taken
	RolledBack bool // the row was behind the requested generation
	LifeLeft   time.Duration
	Terminal   perennial.Reason // the reason, if this attempt moved the connection to reconnect_required
	// UnsavedRefused: an unsaved token set could not be stored, and retrying at once
	// does not help. The engine reports this once for each set; the other fields are
	// empty.
	UnsavedRefused bool
	Result         Result
}

// Engine refreshes connections. It is safe for concurrent use. If two engines in two
// processes refresh the same connection at once, the provider gets one request.
type Engine struct {
	Config
	memory  memory
	secrets secretMemory
	wall    func() time.Time // the wall clock
}

// New returns an engine. The caller, who knows the apps, checks the time chain with
// [timing.Config.Validate].
func New(c Config) *Engine {
	c.Timing = c.Timing.WithDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{Config: c, wall: time.Now}
}

// Request asks for one refresh.
type Request struct {
	ConnectionID string
	// Generation is the one to replace: a row above it is already fresh. A row below it
	// is not refreshed, see [perennial.GenerationAheadError], unless Floor shows that
	// the number was given out.
	Generation int64
	// Floor is the highest generation that the connection's workflow has seen, or zero.
	// A row below it went backwards, and no number up to Floor is given out again. It
	// must come from a workflow's own state, never from a caller.
	Floor   int64
	Trigger perennial.Trigger
	RunID   string // the workflow's, for the ledger; may be empty
	App     string // the connection's app, if known: it makes a healthy connection cheaper
	// Judged is for a refresh beside Temporal; see [store.ClaimRequest].
	Judged time.Time
}

// Result is the result of a request. It never holds a token.
type Result struct {
	Outcome     perennial.Outcome
	Connection  perennial.Connection // the row as it now is
	Now         time.Time            // the database's clock at the claim
	RetryAt     time.Time            // zero, or the time before which asking again is useless
	Code        string               // error code, bounded
	Description string               // bounded and redacted
	HTTPStatus  int
	Recovered   bool // a late success turned reconnect_required into active

	// Unsaved is set if the provider replied with tokens that could not be stored yet.
	// It holds them sealed, and must reach [Engine.Persist]. Until then nobody may
	// present the connection's refresh token, and this engine does not.
	Unsaved *store.SaveRequest
}

// over fits the request to the row. For a row that went backwards the floor becomes the
// generation. If the generation is above the row's without that reason, over returns an
// error.
func (r Request) over(row perennial.Connection) (Request, error) {
	switch {
	case row.Behind(r.Floor):
		r.Generation = max(r.Generation, r.Floor)
	case r.Floor > row.Generation: // no restore takes back so much: the number is wrong
		r.Generation = min(r.Generation, row.Generation)
	}
	if r.Generation > max(row.Generation, r.Floor) {
		return r, &perennial.GenerationAheadError{Connection: row.ID, Generation: row.Generation}
	}
	return r, nil
}

// admitRequest asks the gate for one presentation of the connection.
func (e *Engine) admitRequest(row perennial.Connection, app provider.App) store.AdmitRequest {
	return store.AdmitRequest{Connection: row, Rate: app.MaxRefreshesPerSecond, Interval: e.Timing.ProbeInterval,
		Patience: e.Timing.Patience(len(app.ClientSecrets)), Lead: claimTakes}
}

// fastAdmitRequest asks the same by the single statement, which reads the row itself.
func (e *Engine) fastAdmitRequest(req Request, app provider.App) store.FastAdmitRequest {
	return store.FastAdmitRequest{ID: req.ConnectionID, Generation: req.Generation, App: req.App, Trigger: req.Trigger,
		Rate: app.MaxRefreshesPerSecond, Patience: e.Timing.Patience(len(app.ClientSecrets)), Lead: claimTakes}
}

// WaitingClass returns the replay class that decides how long the fence makes a
// connection wait.
func WaitingClass(e provider.Entry) perennial.ReplayClass {
	if e.ReplayClass == perennial.ReplayReuseRevokes && !e.ServesToEnd() {
		return perennial.ReplaySingleUse
	}
	return e.ReplayClass
}

// afterGrace is [WaitingClass] after a grace window.
func afterGrace(e provider.Entry) perennial.ReplayClass {
	e.ReplayClass = e.Later()
	return WaitingClass(e)
}

// claimTakes is how long before its rate slot a connection is claimed.
const claimTakes = 50 * time.Millisecond

// CodeRolledBack marks a row that was behind its workflow: a restore or a failover took
// it back.
const CodeRolledBack = "store_rolled_back"

// CodeUnsaved is the error code of a [Result] with Unsaved set.
const CodeUnsaved = "unsaved"

var errTooLate = errors.New("claim too old to send")

// Refresh claims the connection, presents its refresh token once and saves the reply.
//
// An error means that the store did not answer, or did not take the result; nothing was
// sent unless the error says otherwise. The provider's answer is in the Result. A
// cancelled ctx stops the work only before the request is sent. After that the engine
// reads and saves the reply under its own deadlines.
func (e *Engine) Refresh(ctx context.Context, req Request) (Result, error) {
	began := time.Now()
	if err := e.Ready(); err != nil {
		return Result{}, fmt.Errorf("refresh connection %s: %w", req.ConnectionID, err)
	}
	a, gate, err := e.fastPath(ctx, req, began)
	switch {
	case err != nil:
		return Result{}, fmt.Errorf("refresh connection %s: %w", req.ConnectionID, err)
	case a != nil:
		return e.present(ctx, a)
	case gate.Code != "":
		return e.throttled(gate), nil
	}
	row, now, err := e.Store.Get(ctx, perennial.WorkerAccess(), req.ConnectionID)
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return Result{Outcome: perennial.OutcomeNotFound}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("refresh connection %s: %w", req.ConnectionID, err)
	}
	if err := e.storeUnsavedOf(ctx, row.ID, row.Generation); err != nil {
		return Result{}, err
	}
	if req, err = req.over(row); err != nil {
		return Result{}, err
	}
	app, appErr := e.Apps.App(row.App)
	if appErr == nil {
		app, appErr = app.At(row.Host)
	}
	claimReq := e.claimRequest(req, app.Provider)
	if store.Claimable(row, claimReq, now) {
		gate, err = e.Store.Admit(ctx, e.admitRequest(row, app))
		if err != nil {
			return Result{}, fmt.Errorf("refresh connection %s: %w", req.ConnectionID, err)
		}
		if !gate.Admitted {
			return e.throttled(gate), nil
		}
	} else {
		claimReq.Ungated = true
	}
	seam.At(seam.BeforeClaim, row.ID)
	claim, err := e.Store.Claim(ctx, claimReq)
	if err != nil {
		return Result{}, fmt.Errorf("claim connection %s (database time %s): %w", req.ConnectionID, now.Format(time.RFC3339), err)
	}
	if outcome, ok := verdictOutcome[claim.Verdict]; ok {
		e.returnProbe(ctx, gate, row, app.Provider)
		return e.notClaimed(claim, outcome), nil
	}
	if claim.RolledBack {
		e.observe(Observation{App: row.App, RolledBack: true})
		e.Log.Error("the database went backwards: the row is behind the generation that was given out", "code", CodeRolledBack,
			"connection_id", row.ID, "generation", row.Generation, "given_out", req.Generation)
	}
	a = e.newAttempt(req, claim, began)
	a.app, a.appErr, a.gate = app, appErr, gate
	return e.present(ctx, a)
}

// Ready returns an error while nothing may be presented.
func (e *Engine) Ready() error {
	if e.MayPresent == nil {
		return nil
	}
	return e.MayPresent()
}

// returnProbe gives the probe back that the gate has admitted, if it has.
func (e *Engine) returnProbe(ctx context.Context, gate store.Admission, c perennial.Connection, entry provider.Entry) {
	if !gate.Probe {
		return
	}
	err := e.Store.ReturnProbe(ctx, e.returnProbeRequest(c, entry))
	if err != nil {
		e.Log.Warn("a probe was not given back; the next one is due later", "app", c.App, "connection_id", c.ID, "error", err)
	}
}

func (e *Engine) returnProbeRequest(c perennial.Connection, entry provider.Entry) store.ReturnProbeRequest {
	return store.ReturnProbeRequest{Connection: c, Class: WaitingClass(entry), Interval: e.Timing.ProbeInterval}
}

// throttled returns the result for a connection that the gate did not admit.
func (e *Engine) throttled(gate store.Admission) Result {
	res := Result{Outcome: perennial.OutcomeThrottled, Connection: gate.Connection, Now: gate.Now, RetryAt: gate.RetryAt, Code: gate.Code}
	e.observe(Observation{App: gate.Connection.App, Result: res})
	return res
}

// fastPath claims a healthy connection of a healthy app. If it returns neither an
// attempt nor an error, use the slow path, unless the gate returned a code: then the
// connection waits.
func (e *Engine) fastPath(ctx context.Context, req Request, began time.Time) (a *attempt, gate store.Admission, err error) {
	app, appErr := e.Apps.App(req.App)
	if req.App == "" || appErr != nil || req.Trigger.ByCaller() && app.Provider.RefreshWithin > 0 {
		return nil, gate, nil // of a provider that refuses to refresh early, the fence knows more
	}
	if err := e.storeUnsavedOf(ctx, req.ConnectionID, req.Generation); err != nil {
		return nil, gate, err
	}
	if app.MaxRefreshesPerSecond > 0 {
		var ok bool
		gate, ok, err = e.Store.FastAdmit(ctx, e.fastAdmitRequest(req, app))
		if err != nil || !ok || !gate.Admitted {
			return nil, gate, err
		}
	}
	seam.At(seam.BeforeClaim, req.ConnectionID)
	claim, ok, err := e.Store.FastClaim(ctx, req.App, e.claimRequest(req, app.Provider))
	if err != nil || !ok {
		return nil, store.Admission{}, err
	}
	a = e.newAttempt(req, claim, began)
	a.app, a.appErr = app.At(a.row.Host)
	a.gate = gate
	return a, gate, nil
}

func (e *Engine) claimRequest(req Request, entry provider.Entry) store.ClaimRequest {
	floor := e.Timing.Floor()
	floor.OpensBefore = entry.OpensBefore()
	return store.ClaimRequest{ID: req.ConnectionID, Generation: req.Generation, Trigger: req.Trigger, AttemptID: uuid.NewString(),
		Lease: e.Timing.Lease(entry), Class: WaitingClass(entry), GraceWindow: entry.GraceEnds(time.Time{}).Sub(time.Time{}), AfterGrace: afterGrace(entry), Floor: floor, Judged: req.Judged}
}

func (e *Engine) newAttempt(req Request, claim store.Claim, began time.Time) *attempt {
	row := claim.Connection
	return &attempt{Engine: e, req: req, row: row, now: claim.Now, began: began, claimed: time.Now(),
		log: e.Log.With("connection_id", row.ID, "provider", row.Provider, "app", row.App, "generation", row.Generation, "trigger", req.Trigger)}
}

// present runs a claimed attempt.
func (e *Engine) present(ctx context.Context, a *attempt) (Result, error) {
	seam.At(seam.AfterClaim, a.row.ID)
	before := a.row
	res, err := a.run(ctx)
	o := Observation{App: before.App, Trigger: a.req.Trigger, Presented: true, LifeLeft: before.ExpiresAt.Sub(a.now), Result: res}
	if after := res.Connection; after.Status == perennial.StatusReconnectRequired && before.Status != after.Status {
		o.Terminal = after.Reason
	}
	e.observe(o)
	return res, err
}

func (e *Engine) observe(o Observation) {
	if e.Observer != nil {
		e.Observer.Observe(o)
	}
}

// savedResult returns the result of a save.
func savedResult(s store.SaveResult, now time.Time) Result {
	return Result{Outcome: savedOutcome(s), Connection: s.Connection, Now: now, Recovered: s.Recovered}
}

// savedOutcome returns the outcome of a save. If the row has moved on meanwhile, a
// reconnect or a disconnect has won.
func savedOutcome(s store.SaveResult) perennial.Outcome {
	switch {
	case s.Stored:
		return perennial.OutcomeRefreshed
	case s.Connection.Status == perennial.StatusDisconnected:
		return perennial.OutcomeRefused
	default:
		return perennial.OutcomeAlreadyFresh
	}
}
