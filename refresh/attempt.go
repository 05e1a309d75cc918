package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// attempt is one claimed presentation, from the claim until the attempt is closed.
type attempt struct {
	*Engine
	req   Request
	app   provider.App
	row   perennial.Connection // as claimed
	now   time.Time            // the database's clock at the claim
	began time.Time
	log   *slog.Logger

	claimed time.Time // this process's clock at the claim, for durations

	appErr error // the app cannot be used: present nothing
	gate   store.Admission
	slot   time.Time // send nothing before it; zero: no limit
	missed bool      // the slot had passed when the request was ready
	gaveUp bool      // we decided to send nothing

	trial *secretTrial // of the app's other client secrets, if this attempt made one
}

// clock returns what the database's clock should show now.
func (a *attempt) clock() time.Time { return a.now.Add(time.Since(a.claimed)) }

// run does everything that can fail before the token is spent, presents the token, and
// then saves the new set or closes the attempt.
func (a *attempt) run(ctx context.Context) (Result, error) {
	token, problem := a.prepare()
	if problem.Outcome != "" {
		return a.close(ctx, problem)
	}
	if token.IsZero() {
		a.gaveUp = true
		return a.closeWith(ctx, provider.Reply{Outcome: perennial.OutcomeRevoked, Code: "no_refresh_token"},
			store.CloseRequest{Terminal: perennial.ReasonNoRefreshToken})
	}
	reply := a.present(ctx, token)
	defer a.endTrial(ctx) // after the save: nothing comes before that
	seam.At(seam.AfterReply, a.row.ID)
	if reply.Outcome == perennial.OutcomeRefreshed {
		return a.save(ctx, reply, token)
	}
	return a.close(ctx, reply)
}

// prepare opens the refresh token and proves that the reply could be sealed. If the
// reply it returns has an outcome, nothing may be presented, for that reason.
func (a *attempt) prepare() (perennial.Secret, provider.Reply) {
	problem := func(code, format string, args ...any) (perennial.Secret, provider.Reply) {
		return perennial.Secret{}, provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: code, Description: fmt.Sprintf(format, args...)}
	}
	if perennial.CodeOf(a.appErr) == perennial.CodeUnavailable { // its provider describes itself, and has not yet been read
		return problem("metadata_unread", "%v", a.appErr)
	}
	if a.appErr != nil {
		return problem("app_not_configured", "app %q is not in this worker's configuration", a.row.App)
	}
	if d := perennial.NewSecret(a.app.ClientID).Digest(); a.row.ClientIDDigest != "" && a.row.ClientIDDigest != d {
		// A provider answers invalid_grant when another client presents a grant. That
		// would look like a revocation.
		return problem("client_id_mismatch", "app %q has another client_id than the one this connection was made with", a.row.App)
	}
	if len(a.row.RefreshTokenSealed) == 0 {
		return perennial.Secret{}, provider.Reply{}
	}
	token, err := a.Sealer.Open(seal.BindingOf(a.row, seal.FieldRefreshToken, a.row.Generation), a.row.RefreshTokenSealed)
	if err != nil {
		return problem("not_opened", "the stored refresh token does not open with this worker's keys: %v", err)
	}
	for _, field := range []seal.Field{seal.FieldAccessToken, seal.FieldRefreshToken} {
		if _, err := a.Sealer.Seal(seal.BindingOf(a.row, field, a.nextGeneration()), token); err != nil {
			return problem("not_sealed", "this worker's keys cannot seal the %s: %v", field, err)
		}
	}
	return token, provider.Reply{}
}

// nextGeneration returns the number of the next token set. After a database went
// backwards, the claim has written the floor into the row.
func (a *attempt) nextGeneration() int64 { return a.row.NextGeneration() }

// present presents the token with the client secret that the provider accepted last. If
// it rejects that one, see [attempt.tryOtherSecrets].
func (a *attempt) present(ctx context.Context, token perennial.Secret) provider.Reply {
	secrets, ok := a.secretsInOrder(ctx)
	if !ok {
		a.gaveUp = true
		return provider.Reply{Outcome: perennial.OutcomeThrottled, Code: codeSecretTrial}
	}
	reply := a.presentWith(ctx, secrets[0], token, 0)
	if len(secrets) > 1 && !a.missed && reply.ClientRejected() {
		reply = a.tryOtherSecrets(ctx, secrets, token, reply)
	}
	if a.missed {
		reply.Outcome, reply.Code = perennial.OutcomeThrottled, store.CodeRateLimit
	}
	return reply
}

// presentWith presents a token with one client secret, as this attempt's i-th request.
func (a *attempt) presentWith(ctx context.Context, secret, token perennial.Secret, i int) provider.Reply {
	detached := seam.With(context.WithoutCancel(ctx), a.row.ID)
	if seam.Off(seam.WithoutCancel) {
		detached = seam.With(ctx, a.row.ID)
	}
	if err := a.waitForSlot(ctx, i); err != nil {
		a.gaveUp = true
		return provider.Reply{Outcome: perennial.OutcomeThrottled, Code: store.CodeRateLimit}
	}
	postCtx, cancel := within(detached, a.Timing.HTTPTimeout)
	defer cancel()
	return a.Presenter.Refresh(postCtx, a.app, secret, token, func(sendCtx context.Context) error {
		err := a.sendable(ctx, sendCtx)
		a.gaveUp = err != nil
		return err
	})
}

// sendable runs immediately before the first byte leaves. If it returns an error,
// nothing is sent.
func (a *attempt) sendable(ctx, sendCtx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // the caller left while nothing was sent yet
	}
	if a.stalled() {
		return errTooLate
	}
	if a.app.Provider.ReplayClass == perennial.ReplayReuseRevokes {
		if err := a.Store.MarkSending(sendCtx, a.row.ID, a.row.Open.ID); err != nil {
			return err
		}
		seam.At(seam.AfterMark, a.row.ID)
		if a.stalled() {
			return errTooLate
		}
	}
	if !a.slot.IsZero() && a.clock().Sub(a.slot) > store.SlotTolerance {
		a.missed = true
		return errTooLate
	}
	return nil
}

// stalled reports whether the attempt is so old that another process may take the fence
// before a request sent now would end. It counts by both clocks, because the monotonic
// one stands still while a machine is paused. A wall clock that was set forward costs
// one attempt that sent nothing.
func (a *attempt) stalled() bool {
	age := max(time.Since(a.began), a.wall().Round(0).Sub(a.began.Round(0)))
	return a.Timing.Stalled(age, a.app.Provider)
}

// waitForSlot waits for the rate slot of this attempt's i-th request. Each request has
// its own slot.
func (a *attempt) waitForSlot(ctx context.Context, i int) error {
	a.slot = a.gate.SlotAt
	if i > 0 && a.app.MaxRefreshesPerSecond > 0 {
		req := a.admitRequest(a.row, a.app)
		req.Patience, req.SlotOnly = a.Timing.HTTPTimeout, true
		gate, err := a.Store.Admit(ctx, req)
		if err != nil {
			return err
		}
		if !gate.Admitted {
			return errTooLate
		}
		a.slot = gate.SlotAt
	}
	if a.slot.IsZero() {
		return nil
	}
	wait := time.NewTimer(a.slot.Sub(a.clock()))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// save stores the tokens. The caller's cancellation no longer counts. save is
// idempotent, and tries until SaveTimeout.
func (a *attempt) save(ctx context.Context, reply provider.Reply, old perennial.Secret) (Result, error) {
	if !seam.Off(seam.WithoutCancel) {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timing.SaveTimeout)
	defer cancel()
	req, err := a.saveRequest(reply, old)
	if err != nil {
		return Result{}, err
	}
	kept := false
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		var saved store.SaveResult
		saved, err = a.Engine.save(ctx, a.row, &req)
		if err == nil {
			if kept {
				if err := a.Spool.Drop(req); err != nil {
					a.log.Warn("stored tokens stay in the spool; storing them again changes nothing", "error", err)
				}
			}
			seam.At(seam.AfterCommit, a.row.ID)
			a.note(ctx, reply)
			saved = a.keepSpare(ctx, saved, req)
			a.revokeUnwanted(ctx, saved, reply.Tokens.RefreshToken)
			return a.saved(saved, reply), nil
		}
		a.log.Warn("save not done yet", "error", err)
		a.authenticate(&req)
		kept = kept || a.spool(req)
		if errors.Is(err, ErrSetAside) {
			a.markSetAside(ctx, req)
			return a.unsaved(req, reply, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return a.unsaved(req, reply, err)
		}
	}
}

// spool writes a set that could not be stored at once to the spool.
func (a *attempt) spool(req store.SaveRequest) (kept bool) {
	if a.Spool == nil {
		return false
	}
	if err := a.Spool.Add(req); err != nil {
		a.log.Error("tokens not written to the spool; the workflow holds them if they cannot be stored", "error", err)
		return false
	}
	return true
}

// unsaved hands out a set that could not be stored.
func (a *attempt) unsaved(req store.SaveRequest, reply provider.Reply, err error) (Result, error) {
	a.log.Error("a token set was received and could not be stored yet", "error", err)
	if seam.Off(seam.Journal) {
		return Result{}, err
	}
	a.memory.add(req)
	return Result{Outcome: perennial.OutcomeUnknown, Code: CodeUnsaved, Connection: a.row, Now: a.clock(), HTTPStatus: reply.HTTPStatus, Unsaved: &req}, nil
}

// authenticate sets the seal of a set that is about to leave the process, unless it has
// one. Without it only the set's tokens would be believed.
func (a *attempt) authenticate(req *store.SaveRequest) {
	if len(req.Seal) > 0 {
		return
	}
	if err := Authenticate(a.Sealer, a.row, req); err != nil {
		a.log.Error("unsaved tokens leave without a seal over the whole set", "error", err)
	}
}

func (a *attempt) saveRequest(reply provider.Reply, old perennial.Secret) (store.SaveRequest, error) {
	t := reply.Tokens
	refreshToken := t.RefreshToken
	if refreshToken.IsZero() {
		refreshToken = old // the provider did not rotate
	}
	if size := textSize(t); size > maxTexts {
		a.log.Warn("the reply's scopes and members are too long and are left out", "bytes", size)
		t.Scopes, t.Metadata = nil, nil
	}
	row := a.row
	if a.req.Trigger == perennial.TriggerRequest || a.req.Trigger == perennial.TriggerTokenRefused {
		row.LastUsedAt = a.now // a caller waits for the token
	}
	if reply.Cut && t.ExpiresIn <= 0 {
		t.ExpiresIn = lifeOf(row) // the lifetime was lost too: such tokens lived as long until now
	}
	if a.app.Provider.Renewal == provider.RenewalNone && !row.ExpiresAt.IsZero() {
		t.ExpiresIn = row.ExpiresAt.Sub(a.row.Open.StartedAt) // a look does not lengthen it
	}
	w, err := Tokens(a.Sealer, a.app, row, a.nextGeneration(), t, refreshToken, a.row.Open.StartedAt)
	if err != nil {
		return store.SaveRequest{}, fmt.Errorf("save connection %s after the provider replied: %w", a.row.ID, err)
	}
	req := store.SaveRequest{
		ID:            a.row.ID,
		AttemptID:     a.row.Open.ID,
		Generation:    a.row.Generation,
		Digest:        a.row.Open.Digest,
		NewGeneration: w.Generation,
		SealedTokens:  w.SealedTokens,
		MissingScopes: a.judgeScopes(t.Scopes),
		Ledger:        a.ledger(reply),
		Claimed:       a.row,
	}
	if reply.Cut && a.app.Provider.ReplayClass != perennial.ReplayReusable {
		req.AmbiguousSince, req.NextAttemptAt = afterCut(row, a.app.Provider, w.ExpiresAt, a.clock())
	}
	return req, nil
}

func (a *attempt) saved(s store.SaveResult, reply provider.Reply) Result {
	res := savedResult(s, a.clock())
	res.HTTPStatus = reply.HTTPStatus
	if before := a.row.MissingScopes; s.Stored && len(s.Connection.MissingScopes) > 0 && !slices.Equal(before, s.Connection.MissingScopes) {
		a.log.Warn("the grant has lost permissions that the app requires", "missing_scopes", s.Connection.MissingScopes)
	}
	a.log.Info("refreshed", a.facts(reply, "stored", s.Stored, "recovered", s.Recovered, "new_generation", s.Connection.Generation)...)
	return res
}

// close closes an attempt that brought no tokens.
func (a *attempt) close(ctx context.Context, reply provider.Reply) (Result, error) {
	req := decide(a.row, a.app.Provider, reply, a.now, a.Timing.ConfirmDelay)
	a.keep(reply, &req)
	if req.Terminal != "" {
		if res, ok, err := a.useSpare(ctx, reply); ok || err != nil {
			return res, err
		}
		req.Terminal = a.replaced(ctx, req.Terminal)
	}
	return a.closeWith(ctx, reply, req)
}

func (a *attempt) closeWith(ctx context.Context, reply provider.Reply, req store.CloseRequest) (Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Timing.SaveTimeout)
	defer cancel()
	req.ID, req.AttemptID, req.Generation, req.Digest = a.row.ID, a.row.Open.ID, a.row.Generation, a.row.Open.Digest
	req.Ledger = a.ledger(reply)
	row, closed, err := a.closeRow(ctx, req)
	if err != nil {
		// The attempt stays open in the row; after its deadline its outcome counts as
		// unknown.
		return Result{}, fmt.Errorf("close attempt on connection %s (outcome %s): %w", a.row.ID, reply.Outcome, err)
	}
	a.note(ctx, reply)
	res := Result{Outcome: reply.Outcome, Connection: row, Now: a.clock(), Code: reply.Code, Description: reply.Description,
		HTTPStatus: reply.HTTPStatus, RetryAt: row.WaitsUntil(a.clock())}
	if !closed && row.Generation > a.row.Generation {
		res.Outcome = perennial.OutcomeAlreadyFresh // another attempt won, so a refusal of our token means nothing
	}
	a.log.Warn("not refreshed", a.facts(reply, "outcome", res.Outcome, "retry_at", res.RetryAt, "status", row.Status, "description", reply.Description)...)
	return res, nil
}

// noteRequest returns the report of a reply to the app's circuit.
func (a *attempt) noteRequest(reply provider.Reply) store.NoteRequest {
	req := store.NoteRequest{Connection: a.row, Outcome: gateOutcome(reply), Code: reply.Code, Rate: a.app.MaxRefreshesPerSecond, Interval: a.Timing.ProbeInterval,
		ClientFirst: a.app.Provider.ChecksClientFirst}
	if reply.Outcome == perennial.OutcomeRateLimited && a.app.Provider.RateLimitScope != provider.ScopeConnection {
		req.SlowDown = max(reply.RetryAfter, minSlowDown)
		req.SlowDownHost = a.app.Provider.RateLimitScope == provider.ScopeHost
	}
	return req
}

// note reports the reply to the app's circuit, unless it concerns only this connection
// or this worker. A failed report costs no token. But if a success goes unreported, the
// circuit stays open until another probe, so note tries twice in what is left of ctx.
func (a *attempt) note(ctx context.Context, reply provider.Reply) {
	req := a.noteRequest(reply)
	if a.gaveUp || reply.Outcome == perennial.OutcomeMisconfigured && !countable(reply) {
		a.returnProbe(ctx, a.gate, a.row, a.app.Provider) // nothing was presented
	}
	recovered := reply.Outcome == perennial.OutcomeRefreshed && a.row.FailingForLong(a.now)
	if a.gaveUp || !countable(reply) && req.Outcome == reply.Outcome && !a.gate.NoteEveryReply && req.SlowDown == 0 && !recovered {
		return
	}
	first, cancel := ctx, func() {}
	if deadline, ok := ctx.Deadline(); ok {
		first, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	err := a.Store.NoteReply(first, req)
	cancel()
	if err != nil {
		err = a.Store.NoteReply(ctx, req)
	}
	if err != nil {
		a.log.Warn("the app's circuit did not hear of the reply", "error", err)
	}
}

// minSlowDown is the pause of an app after a 429 without a time.
const minSlowDown = 10 * time.Second

// gateOutcome returns the outcome that the app's circuit counts. A directory of customers
// that has not, or no longer, admitted the client ends its own connections; if several
// say so at once, the client itself is in trouble.
func gateOutcome(reply provider.Reply) perennial.Outcome {
	if reply.Outcome == perennial.OutcomeRevoked && reply.Code == "unauthorized_client" && !reply.CustomersClient {
		return perennial.OutcomeMisconfigured
	}
	return reply.Outcome
}

// countable reports whether the reply counts toward the app's circuit.
func countable(reply provider.Reply) bool {
	switch reply.Outcome {
	case perennial.OutcomeMisconfigured:
		return reply.HTTPStatus != 0 || reply.ClientRejected() // a rejection by the provider, not by our own settings
	case perennial.OutcomeUnavailable, perennial.OutcomeUnknown, perennial.OutcomeRejected:
		return true
	}
	return false
}

// facts returns the log attributes that every attempt has.
func (a *attempt) facts(reply provider.Reply, more ...any) []any {
	return append([]any{
		"seconds_remaining", int(a.row.ExpiresAt.Sub(a.now).Seconds()),
		"endpoint", a.row.Host,
		"status_code", reply.HTTPStatus,
		"error_class", reply.Code,
		"attempt", a.row.FailureCount + 1,
		"attempt_id", a.row.Open.ID,
		"run_id", a.req.RunID,
		"provider_request_id", reply.RequestID,
		"duration_ms", reply.Duration.Milliseconds(),
	}, more...)
}

func (a *attempt) ledger(reply provider.Reply) perennial.Attempt {
	l := perennial.Attempt{
		ID:           a.row.Open.ID,
		ConnectionID: a.row.ID,
		Generation:   a.row.Generation,
		Trigger:      a.req.Trigger,
		Outcome:      reply.Outcome,
		ErrorCode:    reply.Code,
		HTTPStatus:   reply.HTTPStatus,
		RetryAfter:   reply.RetryAfter,
		Duration:     reply.Duration,
		Retries:      a.row.FailureCount,
		RunID:        a.req.RunID,
		RequestID:    reply.RequestID,
		StartedAt:    a.row.Open.StartedAt,
	}
	if !a.row.ExpiresAt.IsZero() {
		l.LifeLeft = a.row.ExpiresAt.Sub(a.now)
	}
	if !a.row.NextRefreshAt.IsZero() {
		l.Lateness = a.now.Sub(a.row.NextRefreshAt)
	}
	return l
}
