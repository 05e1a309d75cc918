package workflows

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// joinPatience bounds the wait of a caller for a refresh that others started. After it
// the caller reads the row again, because that refresh may be backing off.
const joinPatience = 15 * time.Second

// refreshNowAllowed is the update's validator. It rejects a request if only a person
// can help. It must not change anything or wait.
func (r *run) refreshNowAllowed(req RefreshNow) error {
	if req.IfGeneration < 0 {
		return temporal.NewNonRetryableApplicationError("if_generation must not be negative", string(perennial.CodeInvalid), nil)
	}
	if !r.known || r.loading || r.inActivity || r.signalled() {
		return nil // the view may be out of date; the handler reads the row first
	}
	return refusal(r.view)
}

// signalled reports whether a signal waits to be received.
func (r *run) signalled() bool {
	for _, ch := range r.signals {
		if ch.Len() > 0 {
			return true
		}
	}
	return false
}

// refusal returns the typed error for a status that allows no refresh, or nil.
func refusal(v activities.View) error {
	code, ok := map[perennial.Status]perennial.Code{
		perennial.StatusReconnectRequired: perennial.CodeReconnectRequired,
		perennial.StatusPaused:            perennial.CodePaused,
		perennial.StatusDisconnected:      perennial.CodeDisconnected,
	}[v.Status]
	if v.Gone {
		code, ok = perennial.CodeNotFound, true
	}
	if !ok {
		return nil
	}
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("not refreshed: %s", v.Words), string(code), nil)
}

// changeCountUpdates: before it, updates did not count toward the end of a run. The server
// then refused further ones until the next timer, after 2,000 in one run.
var changeCountUpdates = change{"count-updates", 2}

// refreshNow is the update's handler.
func (r *run) refreshNow(ctx workflow.Context, req RefreshNow) (RefreshNowReply, error) {
	reply, err := r.serve(ctx, req)
	r.updates++
	if r.updates == r.MessagesPerRun && r.changed(ctx, changeCountUpdates) {
		r.crowded = true
	}
	return reply, err
}

// serve answers one update. Callers that arrive while a refresh runs share it.
func (r *run) serve(ctx workflow.Context, req RefreshNow) (RefreshNowReply, error) {
	for {
		cycle := r.cycles
		read := r.load
		if r.loading && r.changed(ctx, changeFreshLook) {
			read = r.onSignal
		}
		if err := read(ctx); err != nil {
			return RefreshNowReply{}, err
		}
		if err := refusal(r.view); err != nil {
			return RefreshNowReply{}, err
		}
		if req.IfGeneration > r.view.Generation && r.changed(ctx, changeRefuseAhead) {
			return RefreshNowReply{}, generationAhead(r.state.ConnectionID, r.view.Generation)
		}
		if reply, ok := r.answered(req); ok {
			return reply, nil
		}
		if r.cycles == cycle { // no refresh ended while the row was read
			if r.requested.SendAsync(nil) { // if the channel is full, a request is in it already
				r.requestedFor = perennial.TriggerOf(req.Why)
			}
			if err := r.join(ctx, cycle); err != nil {
				return RefreshNowReply{}, err
			}
		}
		if r.cycles > cycle && r.last.Outcome != "" {
			if err := refusal(r.view); err != nil {
				return RefreshNowReply{}, err
			}
			if r.broughtNothingNew(ctx, req) {
				continue
			}
			return r.lastReply(), nil
		}
	}
}

// changeRefuseAhead: before it, a caller's generation above the row's caused refresh
// after refresh, until the row would have reached that number.
var changeRefuseAhead = change{"refuse-ahead", 2}

// generationAhead returns the typed error for a generation above the row's; its details
// hold the row's.
func generationAhead(id string, row int64) error {
	err := &perennial.GenerationAheadError{Connection: id, Generation: row}
	return temporal.NewNonRetryableApplicationError(err.Error(), string(perennial.CodeGenerationAhead), nil, row)
}

// changeAskAgain: before it, a caller that asked for a token newer than an old
// generation was content with a refresh that brought a token it had seen already.
var changeAskAgain = change{"ask-again", 1}

// broughtNothingNew reports whether the refresh that ended brought, or found, exactly
// the generation that the caller has seen refused. This happens when the token was
// stored, and used, before the workflow heard of it.
func (r *run) broughtNothingNew(ctx workflow.Context, req RefreshNow) bool {
	fresh := r.last.Outcome == perennial.OutcomeRefreshed || r.last.Outcome == perennial.OutcomeAlreadyFresh
	return fresh && req.IfGeneration > 0 && r.view.Generation <= req.IfGeneration && r.changed(ctx, changeAskAgain)
}

// changeFreshLook: before it, a caller that arrived during a read of the row was
// answered from that read, which may have been from before a reconnect.
var changeFreshLook = change{"fresh-look", 2}

// join waits until a refresh after cycle has ended, or for joinPatience. It cancels its
// timer, which would otherwise wake the workflow once more.
func (r *run) join(ctx workflow.Context, cycle int) error {
	waitCtx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	_, err := workflow.AwaitWithTimeout(waitCtx, joinPatience, func() bool { return r.cycles > cycle })
	return err
}

// answered returns the reply if the row alone answers the request.
func (r *run) answered(req RefreshNow) (RefreshNowReply, bool) {
	switch {
	case req.IfGeneration > 0 && r.view.Generation > req.IfGeneration,
		req.IfGeneration == 0 && r.view.Young:
		return r.reply(perennial.OutcomeAlreadyFresh, ""), true
	case !r.view.RetryAt.IsZero():
		return r.reply(perennial.OutcomeThrottled, "waiting"), true
	}
	return RefreshNowReply{}, false
}

// lastReply returns the reply for callers who waited for the last refresh.
func (r *run) lastReply() RefreshNowReply {
	reply := r.reply(r.last.Outcome, r.last.Code)
	if r.last.RetryAt.After(reply.RetryAt) {
		reply.RetryAt = r.last.RetryAt
	}
	return reply
}

func (r *run) reply(outcome perennial.Outcome, code string) RefreshNowReply {
	return RefreshNowReply{Outcome: outcome, Code: code, Generation: r.view.Generation, ExpiresAt: r.view.ExpiresAt, RetryAt: r.view.RetryAt}
}
