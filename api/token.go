package api

import (
	"context"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
)

const (
	// leastShare is that of package client: no more than this part of a token's life is
	// asked to be left.
	minShare = 10
	// patience is how long a refresh is waited for while the token at hand lives, at
	// most half of what is left of it.
	patience = 5 * time.Second
	// refreshTimeout is how long it is waited for where there is nothing else.
	refreshTimeout = 25 * time.Second
	// mendedLasts is for how long a token that was just stored is not replaced for a
	// 401: another one will not mend it.
	mendedLasts = time.Minute
	// usedEvery is how often last_used_at is written at most.
	usedEvery = time.Hour
)

// State is what is known of a connection and of its access token, but the token.
// Times are the database's clock, as now is.
type State struct {
	_           struct{}         `additionalProperties:"true"`
	ID          string           `json:"id"`
	App         string           `json:"app"`
	Provider    string           `json:"provider"`
	Title       string           `json:"title" doc:"Of the provider, as customers know it"`
	AccountID   string           `json:"account_id"`
	Status      perennial.Status `json:"status" enum:"active,reconnect_required,paused,disconnected"`
	Reason      perennial.Reason `json:"reason,omitempty"`
	Since       time.Time        `json:"since,omitzero" doc:"Since when it is reconnect_required"`
	FailingCode string           `json:"failing_code,omitempty" doc:"Why the last refresh failed"`

	ReconnectURL string `json:"reconnect_url,omitempty" doc:"Show it to the customer"`
	HelpURL      string `json:"help_url,omitempty"`

	TokenType   string    `json:"token_type" doc:"Always Bearer: the scheme of Authorization (RFC 6750)"`
	Generation  int64     `json:"generation" doc:"Of the token; give it as if_generation where an API answered 401 to it"`
	Now         time.Time `json:"now"`
	ExpiresAt   time.Time `json:"expires_at,omitzero" doc:"Absent: not known"`
	RefreshedAt time.Time `json:"refreshed_at,omitzero" doc:"When this generation was stored"`
	DueAt       time.Time `json:"due_at,omitzero" doc:"From then on a newer one may be there"`
	RetryAt     time.Time `json:"retry_at,omitzero" doc:"No refresh before it"`
	LastUsedAt  time.Time `json:"last_used_at,omitzero"`
	KillsAccess bool      `json:"refresh_ends_access_token,omitempty" doc:"A refresh ends this token at once: do not keep it"`
}

func stateOf(id string, h client.TokenState) State {
	return State{ID: id, App: h.App, Provider: h.Provider, Title: h.Title, AccountID: h.Account, Status: h.Status, Reason: h.Reason, Since: h.Since,
		FailingCode: h.FailingCode, ReconnectURL: h.ReconnectURL, HelpURL: h.HelpURL, TokenType: perennial.TokenTypeBearer, Generation: h.Generation, Now: h.Now,
		ExpiresAt: h.ExpiresAt, RefreshedAt: h.RefreshedAt, DueAt: h.DueAt, RetryAt: h.RetryAt, LastUsedAt: h.LastUsedAt, KillsAccess: h.KillsAccess}
}

// Held is what a client's backend hands out, without the token.
func (s State) TokenState() client.TokenState {
	return client.TokenState{App: s.App, Provider: s.Provider, Title: s.Title, Account: s.AccountID, Status: s.Status, Reason: s.Reason, Since: s.Since,
		FailingCode: s.FailingCode, ReconnectURL: s.ReconnectURL, HelpURL: s.HelpURL, TokenType: s.TokenType, Generation: s.Generation, Now: s.Now,
		ExpiresAt: s.ExpiresAt, RefreshedAt: s.RefreshedAt, DueAt: s.DueAt, RetryAt: s.RetryAt, LastUsedAt: s.LastUsedAt, KillsAccess: s.KillsAccess}
}

// Token is one valid access token.
type Token struct {
	_           struct{} `additionalProperties:"true"`
	AccessToken string   `json:"access_token"`
	TokenType   string   `json:"token_type" doc:"Always Bearer: the scheme of Authorization (RFC 6750)"`
	ExpiresIn   int64    `json:"expires_in,omitempty" doc:"Seconds left, rounded down; absent: not known"`
	State       State    `json:"connection"`
}

type tokenInput struct {
	ConnectionPath
	MinTTL       int64 `query:"min_ttl" minimum:"0" maximum:"86400" default:"120" doc:"Seconds that the token is asked to have left, at most a tenth of its life"`
	IfGeneration int64 `query:"if_generation" minimum:"1" doc:"An API answered 401 to the token of this generation: a newer one is asked for"`
	Refresh      bool  `query:"refresh" default:"true" doc:"false: what is stored is enough; nothing is refreshed"`
}

type tokenOutput struct{ Body Token }

func (a *API) registerTokens() {
	const tag = "tokens"
	at := func(rest string) string { return connectionsPath + "/{id}" + rest }
	register(a, operation{id: "getToken", method: http.MethodGet, path: at("/token"), tag: tag, scopes: tokens, conflicts: true,
		summary: "Get a valid access token",
		description: "Never an expired one. Where less than `min_ttl` is left it is refreshed first; a refresh that takes longer than five seconds, or brings nothing, leaves what is left. " +
			"What is left of an ended grant is handed out until it expires, with `connection.status` `reconnect_required`.\n\n" +
			"409 `reconnect_required`: only the customer can help. 409 `paused`, `disconnected`. 409 `still_unauthorized`: the token that `if_generation` names was stored less than a minute ago, and another would not mend the 401. 409 `generation_ahead`: `if_generation` is above `connection.generation`, as after a restore of the database; forget that token and ask without it. 503 `unavailable`: there is none now; try again after `Retry-After`."}, a.getToken)
	register(a, operation{id: "refreshConnection", method: http.MethodPost, path: at("/refresh"), tag: tag, scopes: tokens, writes: true, repeatable: true,
		summary: "Have the access token refreshed", description: "Callers that ask at once share one refresh. The answer holds no token.\n\n" +
			"409 `generation_ahead`: `if_generation` is above `connection.generation`, as after a restore of the database; nothing was refreshed."}, a.refresh)
	register(a, operation{id: "noteConnection", method: http.MethodPost, path: at("/notes"), tag: tag, scopes: tokens, writes: true, repeatable: true, success: http.StatusNoContent,
		summary: "Note what became of a token", description: "For clients that keep tokens in memory. `getToken` notes the same by itself, unless `refresh=false`."}, a.note)
}

func (a *API) getToken(ctx context.Context, key perennial.APIKey, in *tokenInput) (*tokenOutput, error) {
	b, err := a.backend(key.TenantID)
	if err != nil {
		return nil, err
	}
	held, err := b.Load(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.IfGeneration > held.Generation {
		return nil, generationAhead(in.ID, held)
	}
	if in.Refresh && in.IfGeneration > 0 {
		a.noteBeside(ctx, b, in.ID, client.NoteUnauthorized)
	}
	if p := denied(in.ID, held); p != nil {
		return nil, p
	}
	if in.Refresh && !enough(held, in) && held.Status == perennial.StatusActive {
		if in.IfGeneration == held.Generation && held.Now.Sub(held.RefreshedAt) < mendedLasts {
			state := stateOf(in.ID, held)
			p := problem(codeStillRefused, "This token was stored less than a minute ago, and another one would not mend a 401: check that this connection belongs to that account and may do this.")
			p.State = &state
			return nil, p.retryAfter(mendedLasts - held.Now.Sub(held.RefreshedAt))
		}
		if held, err = a.renew(ctx, b, in, held); err != nil {
			return nil, err
		}
	}
	if !handable(held, in.IfGeneration) {
		return nil, none(in.ID, held)
	}
	if in.Refresh && held.Now.Sub(held.LastUsedAt) > usedEvery {
		a.noteBeside(ctx, b, in.ID, client.NoteUsed)
	}
	out := &tokenOutput{Token{AccessToken: held.Access.Reveal(), TokenType: perennial.TokenTypeBearer, State: stateOf(in.ID, held)}}
	if !held.ExpiresAt.IsZero() {
		out.Body.ExpiresIn = int64(held.ExpiresAt.Sub(held.Now) / time.Second)
	}
	return out, nil
}

// renew has the token refreshed and loads it again. It waits only for as long as
// the token at hand allows.
func (a *API) renew(ctx context.Context, b client.Backend, in *tokenInput, held client.TokenState) (client.TokenState, error) {
	if held.RetryAt.After(held.Now) {
		return held, nil // a wait is in force
	}
	wait := refreshTimeout
	if handable(held, in.IfGeneration) && !held.ExpiresAt.IsZero() {
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
	case handable(held, in.IfGeneration) && perennial.CodeOf(err) != perennial.CodeNotFound:
		return held, nil
	default:
		return held, err
	}
	if p := denied(in.ID, next); p != nil {
		return next, p
	}
	return next, nil
}

// handable reports whether a token may be handed out at all.
func handable(h client.TokenState, beyond int64) bool {
	return h.Generation > beyond && !h.Access.IsZero() && (h.ExpiresAt.IsZero() || h.ExpiresAt.After(h.Now))
}

// enough reports whether it has as much life left as is asked for.
func enough(h client.TokenState, in *tokenInput) bool {
	if !handable(h, in.IfGeneration) {
		return false
	}
	if h.ExpiresAt.IsZero() {
		return true
	}
	least := time.Duration(in.MinTTL) * time.Second
	if life := h.ExpiresAt.Sub(h.RefreshedAt); !h.RefreshedAt.IsZero() && life > 0 {
		least = min(least, life/minShare)
	}
	return h.ExpiresAt.Sub(h.Now) >= least
}

// denied is the problem of a connection whose status allows no token.
func denied(id string, h client.TokenState) *Problem {
	var p *Problem
	switch h.Status {
	case perennial.StatusActive, perennial.StatusReconnectRequired:
		return nil
	case perennial.StatusPaused:
		p = problem(perennial.CodePaused, "The connection is paused: resume it to use it.")
	default:
		p = problem(perennial.CodeDisconnected, "The connection was ended: connect the account again.")
	}
	state := stateOf(id, h)
	p.State = &state
	return p
}

// none is the problem where there is no token to hand out.
func none(id string, h client.TokenState) *Problem {
	state := stateOf(id, h)
	if h.Status == perennial.StatusReconnectRequired {
		p := problem(perennial.CodeReconnectRequired, "%s.", perennial.Describe(h.Status, "", h.Reason, h.Title))
		p.State = &state
		return p
	}
	wait := retryAfterUnavailable
	if h.RetryAt.After(h.Now) {
		wait = h.RetryAt.Sub(h.Now)
	}
	p := problem(perennial.CodeUnavailable, "There is no valid access token now; there may be one later without anybody's doing.").retryAfter(wait)
	p.State = &state
	return p
}

// generationAhead is the problem of a caller's generation above the row's, as one
// that met a restore of the database has.
func generationAhead(id string, h client.TokenState) *Problem {
	p := problemOf(&perennial.GenerationAheadError{Connection: id, Generation: h.Generation})
	state := stateOf(id, h)
	p.State = &state
	return p
}

// noteTimeout bounds a note that nobody waits for.
const noteTimeout = 5 * time.Second

func (a *API) noteBeside(ctx context.Context, b client.Backend, id string, n client.Note) {
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
	Body *struct {
		IfGeneration int64 `json:"if_generation,omitempty" minimum:"0" doc:"Only if this is still the generation, however young its token is; absent: unless the token is young"`
	} `required:"false"`
}

type refreshOutput struct{ Body State }

func (a *API) refresh(ctx context.Context, key perennial.APIKey, in *refreshInput) (*refreshOutput, error) {
	b, err := a.backend(key.TenantID)
	if err != nil {
		return nil, err
	}
	held, err := b.Load(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if p := denied(in.ID, held); p != nil {
		return nil, p
	}
	generation := int64(0)
	if in.Body != nil {
		generation = in.Body.IfGeneration
	}
	if generation > held.Generation {
		return nil, generationAhead(in.ID, held)
	}
	waiting, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if err := b.Refresh(waiting, in.ID, generation); err != nil {
		p := problemOf(err)
		if held, err := b.Load(ctx, in.ID); err == nil {
			state := stateOf(in.ID, held)
			p.State = &state
		}
		return nil, p
	}
	if held, err = b.Load(ctx, in.ID); err != nil {
		return nil, err
	}
	return &refreshOutput{stateOf(in.ID, held)}, nil
}

type noteInput struct {
	ConnectionPath
	Body struct {
		Note client.Note `json:"note" enum:"used,unauthorized" doc:"used: it was handed out; unauthorized: an API answered 401 to it"`
	}
}

func (a *API) note(ctx context.Context, key perennial.APIKey, in *noteInput) (*struct{}, error) {
	b, err := a.backend(key.TenantID)
	if err != nil {
		return nil, err
	}
	if _, err := a.own(ctx, key, in.ID); err != nil { // a backend notes what it is told
		return nil, err
	}
	return nil, b.Note(ctx, in.ID, in.Body.Note)
}
