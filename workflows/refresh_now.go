package workflows

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// joinPatience is how long a caller waits for a refresh that others started
// before it looks at the row again: that one may be backing off.
const joinPatience = 15 * time.Second

// refreshNowAllowed is the update's validator: it refuses where only a person
// can help. It must not change or wait.
func (l *life) refreshNowAllowed(req RefreshNow) error {
	if req.IfGeneration < 0 {
		return temporal.NewNonRetryableApplicationError("if_generation must not be negative", string(perennial.CodeInvalid), nil)
	}
	if !l.known || l.loading || l.away || l.told() {
		return nil // what is known may be out of date; the handler reads the row first
	}
	return refusal(l.view)
}

// told reports whether a message waits to be taken in.
func (l *life) told() bool {
	for _, ch := range l.signals {
		if ch.Len() > 0 {
			return true
		}
	}
	return false
}

// refusal is the typed error for a status that allows no refresh, or nil.
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

// refreshNow is the update's handler. Callers that come while a refresh runs
// share it.
func (l *life) refreshNow(ctx workflow.Context, req RefreshNow) (RefreshNowReply, error) {
	for {
		cycle := l.cycles
		read := l.load
		if l.loading && l.changed(ctx, changeFreshLook) {
			read = l.hear
		}
		if err := read(ctx); err != nil {
			return RefreshNowReply{}, err
		}
		if err := refusal(l.view); err != nil {
			return RefreshNowReply{}, err
		}
		if req.IfGeneration > l.view.Generation && l.changed(ctx, changeRefuseAhead) {
			return RefreshNowReply{}, generationAhead(l.state.ConnectionID, l.view.Generation)
		}
		if reply, ok := l.answered(req); ok {
			return reply, nil
		}
		if l.cycles == cycle { // none ended while the row was read
			l.asked.SendAsync(nil) // a full channel holds the same request
			if err := l.join(ctx, cycle); err != nil {
				return RefreshNowReply{}, err
			}
		}
		if l.cycles > cycle && l.last.Outcome != "" {
			if err := refusal(l.view); err != nil {
				return RefreshNowReply{}, err
			}
			if l.broughtNothingNew(ctx, req) {
				continue
			}
			return l.reply(l.last.Outcome, l.last.Code), nil
		}
	}
}

// changeRefuseAhead: a caller's generation above the row's was refreshed for, again
// and again, until the row would have reached it.
var changeRefuseAhead = change{"refuse-ahead", 2}

// generationAhead is the typed error for a generation above the row's, which stands in
// its details.
func generationAhead(id string, row int64) error {
	err := &perennial.GenerationAheadError{Connection: id, Generation: row}
	return temporal.NewNonRetryableApplicationError(err.Error(), string(perennial.CodeGenerationAhead), nil, row)
}

// changeAskAgain: whoever asked for another than the newest generation was content
// with the refresh that brought it.
var changeAskAgain = change{"ask-again", 1}

// broughtNothingNew reports whether the refresh that ended brought, or found, the
// very generation that the caller has seen refused: it was stored, and seen, before
// the workflow was told.
func (l *life) broughtNothingNew(ctx workflow.Context, req RefreshNow) bool {
	fresh := l.last.Outcome == perennial.OutcomeRefreshed || l.last.Outcome == perennial.OutcomeAlreadyFresh
	return fresh && req.IfGeneration > 0 && l.view.Generation <= req.IfGeneration && l.changed(ctx, changeAskAgain)
}

// changeFreshLook: whoever asked while the row was being read was answered from that
// reading, which may have been from before a reconnect.
var changeFreshLook = change{"fresh-look", 2}

// join waits until a refresh after cycle has ended, or until patience has. The
// timer of a wait that is over would be one more wake-up.
func (l *life) join(ctx workflow.Context, cycle int) error {
	waitCtx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	_, err := workflow.AwaitWithTimeout(waitCtx, joinPatience, func() bool { return l.cycles > cycle })
	return err
}

// answered reports whether the row alone answers the request.
func (l *life) answered(req RefreshNow) (RefreshNowReply, bool) {
	switch {
	case req.IfGeneration > 0 && l.view.Generation > req.IfGeneration,
		req.IfGeneration == 0 && l.view.Young:
		return l.reply(perennial.OutcomeAlreadyFresh, ""), true
	case !l.view.RetryAt.IsZero():
		return l.reply(perennial.OutcomeHeld, "waiting"), true
	}
	return RefreshNowReply{}, false
}

func (l *life) reply(outcome perennial.Outcome, code string) RefreshNowReply {
	return RefreshNowReply{Outcome: outcome, Code: code, Generation: l.view.Generation, ExpiresAt: l.view.ExpiresAt, RetryAt: l.view.RetryAt}
}
