package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
)

const (
	// patience is how long a request waits for a refresh while the current token lives,
	// at most half of what is left of it.
	patience = 5 * time.Second
	// refreshTimeout is how long it waits if there is no other token.
	refreshTimeout = 25 * time.Second
	// mendedLasts is how long after storing a token a 401 does not cause another
	// refresh: a newer token would not mend it.
	mendedLasts = time.Minute
	// usedEvery bounds how often last_used_at is written.
	usedEvery = time.Hour
)

// Backend reads the tokens of one tenant and has them refreshed. It is a
// client.Backend, with that contract: direct.Backend in production.
type Backend interface {
	Load(ctx context.Context, id string) (wire.TokenState, error)
	Refresh(ctx context.Context, id string, generation int64) error
	Note(ctx context.Context, id string, n wire.Note) error
	// Refused is Refresh for what a product reported, as in client.Refuser.
	Refused(ctx context.Context, id string, generation int64, why perennial.RefusalCause) error
}

type tokenInput struct {
	ConnectionPath
	MinTTL       int64 `query:"min_ttl" minimum:"0" maximum:"86400" default:"120" doc:"Seconds that the token is asked to have left, at most a tenth of its life"`
	IfGeneration int64 `query:"if_generation" minimum:"1" doc:"An API answered 401 to the token of this generation: a newer one is asked for"`
	Refresh      bool  `query:"refresh" default:"true" doc:"false: what is stored is enough; nothing is refreshed"`
}

type tokenOutput struct{ Body wire.Token }

// shown returns a state as the API shows it.
func shown(s wire.TokenState) *wire.TokenState {
	s.TokenType = perennial.TokenTypeBearer
	return &s
}

func (a *API) registerTokens() {
	const tag = "tokens"
	at := func(rest string) string { return connectionsPath + "/{id}" + rest }
	register(a, operation{id: "getToken", method: http.MethodGet, path: at("/token"), tag: tag, scopes: tokens, conflicts: true,
		summary: "Get a valid access token",
		description: "Never an expired one. Where less than `min_ttl` is left it is refreshed first; a refresh that takes longer than five seconds, or brings nothing, leaves what is left. " +
			"What is left of an ended grant is handed out until it expires, with `connection.status` `reconnect_required`.\n\n" +
			"409 `reconnect_required`: only the customer can help. 409 `paused`, `disconnected`. 409 `still_unauthorized`: the token that `if_generation` names was stored less than a minute ago, or callers have had it refreshed again and again (`connection.forced_at`), and another would not mend the 401. 409 `generation_ahead`: `if_generation` is above `connection.generation`, as after a restore of the database; forget that token and ask without it. 503 `unavailable`: there is none now; try again after `Retry-After`."}, a.getToken)
	register(a, operation{id: "refreshConnection", method: http.MethodPost, path: at("/refresh"), tag: tag, scopes: tokens, writes: true, repeatable: true,
		summary: "Have the access token refreshed", description: "Callers that ask at once share one refresh. The answer holds no token.\n\n" +
			"A caller may have a token refreshed before that is due, once: a second time not before 10 seconds later, and each further time after twice as long, up to 10 minutes. Until then nothing is refreshed, and the answer is 200 with the connection as it is: `generation` has not risen, `forced_at` says when it was refreshed, `retry_at` when it may be again. The count ends with a refresh that was due, with a new consent, or after 20 minutes.\n\n" +
			"409 `generation_ahead`: `if_generation` is above `connection.generation`, as after a restore of the database; nothing was refreshed."}, a.refresh)
	a.registerRefused(tag)
	register(a, operation{id: "noteConnection", method: http.MethodPost, path: at("/notes"), tag: tag, scopes: tokens, writes: true, repeatable: true, success: http.StatusNoContent,
		summary: "Note what became of a token", description: "For clients that keep tokens in memory. `getToken` notes the same by itself, unless `refresh=false`."}, a.note)
}

func (a *API) getToken(ctx context.Context, access perennial.Access, in *tokenInput) (*tokenOutput, error) {
	b, err := a.Tokens(access)
	if err != nil {
		return nil, err
	}
	held, err := b.Load(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.IfGeneration > held.Generation {
		return nil, generationAhead(held)
	}
	if in.Refresh && in.IfGeneration > 0 {
		a.noteBeside(ctx, b, in.ID, wire.NoteUnauthorized)
	}
	if p := denied(held); p != nil {
		return nil, p
	}
	if in.Refresh && !held.Enough(0, in.IfGeneration, time.Duration(in.MinTTL)*time.Second) && held.Status == perennial.StatusActive {
		if in.IfGeneration == held.Generation {
			if p := stillRefused(held); p != nil {
				return nil, p
			}
		}
		if held, err = a.renew(ctx, b, in, held); err != nil {
			return nil, err
		}
	}
	if !held.Usable(0, in.IfGeneration) {
		return nil, none(held)
	}
	if in.Refresh && held.Now.Sub(held.LastUsedAt) > usedEvery {
		a.noteBeside(ctx, b, in.ID, wire.NoteUsed)
	}
	return &tokenOutput{wire.TokenOf(held)}, nil
}

// renew has the token refreshed and loads it again. It waits only as long as the
// current token allows.
func (a *API) renew(ctx context.Context, b Backend, in *tokenInput, held wire.TokenState) (wire.TokenState, error) {
	if held.RetryAt.After(held.Now) {
		return held, nil // the row demands a wait
	}
	wait := refreshTimeout
	if held.Usable(0, in.IfGeneration) && !held.ExpiresAt.IsZero() {
		wait = min(patience, held.ExpiresAt.Sub(held.Now)/2)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := b.Refresh(waiting, in.ID, held.Generation); err != nil {
		a.Log.Warn("no newer access token", "connection_id", in.ID, "generation", held.Generation, "error", err)
	}
	next, err := b.Load(ctx, in.ID)
	switch {
	case err == nil:
	case held.Usable(0, in.IfGeneration) && perennial.CodeOf(err) != perennial.CodeNotFound:
		return held, nil
	default:
		return held, err
	}
	if p := denied(next); p != nil {
		return next, p
	}
	return next, nil
}

// stillRefused returns the problem of a 401 that another token would not mend, or nil: the
// current one is new, or callers have had it renewed so often that they must wait.
func stillRefused(h wire.TokenState) *Problem {
	age := h.Now.Sub(h.RefreshedAt)
	wait := max(mendedLasts-age, h.Floored(0))
	if wait <= 0 {
		return nil
	}
	when := "less than a minute ago"
	if age >= mendedLasts {
		when = fmt.Sprintf("%s ago because a caller asked for it", age.Round(time.Second))
	}
	p := problem(codeStillRefused, "This token was stored %s, and another one would not mend a 401: check that this connection belongs to that account and may do this.", when)
	p.State = shown(h)
	return p.retryAfter(wait)
}

// denied returns the problem of a connection whose status allows no token, or nil.
func denied(h wire.TokenState) *Problem {
	var p *Problem
	switch h.Status {
	case perennial.StatusActive, perennial.StatusReconnectRequired:
		return nil
	case perennial.StatusPaused:
		p = problem(perennial.CodePaused, "The connection is paused: resume it to use it.")
	default:
		p = problem(perennial.CodeDisconnected, "The connection was ended: connect the account again.")
	}
	p.State = shown(h)
	return p
}

// none returns the problem if there is no usable token.
func none(h wire.TokenState) *Problem {
	if h.Status == perennial.StatusReconnectRequired {
		p := problem(perennial.CodeReconnectRequired, "%s.", perennial.Describe(h.Status, "", h.Reason, h.Title))
		p.State = shown(h)
		return p
	}
	wait := retryAfterUnavailable
	if h.RetryAt.After(h.Now) {
		wait = h.RetryAt.Sub(h.Now)
	}
	p := problem(perennial.CodeUnavailable, "There is no valid access token now; there may be one later without anybody's doing.").retryAfter(wait)
	p.State = shown(h)
	return p
}

// generationAhead returns the problem for a caller's generation above the row's. A
// caller meets it after a restore of the database.
func generationAhead(h wire.TokenState) *Problem {
	p := problemOf(&perennial.GenerationAheadError{Generation: h.Generation})
	p.State = shown(h)
	return p
}

// noteTimeout bounds one background call of [Backend]'s Note.
const noteTimeout = 5 * time.Second

func (a *API) noteBeside(ctx context.Context, b Backend, id string, n wire.Note) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	a.background.Go(func() {
		defer cancel()
		if err := b.Note(ctx, id, n); err != nil {
			a.Log.Warn("not noted", "connection_id", id, "note", n, "error", err)
		}
	})
}

type refreshInput struct {
	ConnectionPath
	Body *wire.RefreshBody `required:"false"`
}

type refreshOutput struct{ Body wire.TokenState }

func (a *API) refresh(ctx context.Context, access perennial.Access, in *refreshInput) (*refreshOutput, error) {
	b, err := a.Tokens(access)
	if err != nil {
		return nil, err
	}
	held, err := b.Load(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if p := denied(held); p != nil {
		return nil, p
	}
	generation := int64(0)
	if in.Body != nil {
		generation = in.Body.IfGeneration
	}
	if generation > held.Generation {
		return nil, generationAhead(held)
	}
	waiting, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if err := b.Refresh(waiting, in.ID, generation); err != nil {
		p := problemOf(err)
		if held, err := b.Load(ctx, in.ID); err == nil {
			p.State = shown(held)
		}
		return nil, p
	}
	if held, err = b.Load(ctx, in.ID); err != nil {
		return nil, err
	}
	return &refreshOutput{*shown(held)}, nil
}

type noteInput struct {
	ConnectionPath
	Body wire.NoteBody
}

func (a *API) note(ctx context.Context, access perennial.Access, in *noteInput) (*struct{}, error) {
	b, err := a.Tokens(access)
	if err != nil {
		return nil, err
	}
	if _, err := a.own(ctx, access, in.ID); err != nil { // the backend records notes without a check
		return nil, err
	}
	return nil, b.Note(ctx, in.ID, in.Body.Note)
}
