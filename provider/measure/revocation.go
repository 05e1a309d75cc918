package measure

import (
	"context"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// revocation revokes a refresh token and sees what ends with it. With a second grant of
// the same account it sees whether that ends too.
func (r *run) revocation(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	other := r.second(ctx, g)
	if g.over { // by the second consent
		g, other = other, nil
	}
	if r.Alive != nil {
		if err := r.works(ctx, g.access, "an access token that has just come"); err != nil {
			return err
		}
	}
	if err := r.Client.Revoke(ctx, r.App, g.refresh); err != nil {
		r.lost(g, false)
		return unknown(err.Error())
	}
	return r.reach(ctx, g, other)
}

// second asks for a second grant of the account, if that is allowed, and sees whether the
// first one survives it.
func (r *run) second(ctx context.Context, g *grant) (other *grant) {
	other, err := r.consent(ctx)
	if err != nil {
		r.grant = g
		return nil
	}
	reply, err := r.present(ctx, r.secret(), g.refresh)
	switch {
	case err != nil:
	case reply.Outcome == perennial.OutcomeRefreshed:
		g.take(reply.Tokens, r.asked)
	case reply.Outcome == perennial.OutcomeRevoked:
		g.over = true
		r.out.Description.GrantsPerUser = 1
		r.found("grants_per_user", "1", "a second consent of the account ended the first one: %s", saw(reply))
	}
	return other
}

// reached is what a revocation ended, and what it left.
type reached struct{ ended, left []string }

func (a *reached) note(what string, over bool) {
	if over {
		a.ended = append(a.ended, what)
	} else {
		a.left = append(a.left, what)
	}
}

// reach records what a revocation ended.
func (r *run) reach(ctx context.Context, g, other *grant) error {
	var a reached
	reply, err := r.present(ctx, r.secret(), g.refresh)
	if err != nil {
		return err
	}
	dead := reply.Outcome != perennial.OutcomeRefreshed && reply.Outcome != perennial.OutcomeTooEarly
	if a.note("the refresh token", dead); dead {
		r.refusedAgain(reply)
		r.lost(g, true)
	}
	if r.Alive != nil {
		alive, err := r.Alive(ctx, g.access)
		if err != nil {
			return err
		}
		a.note("its access token", !alive)
	}
	if err := r.reachOther(ctx, other, &a); err != nil {
		return err
	}
	says := "ends " + list(a.ended)
	if len(a.left) > 0 {
		says += "; not " + list(a.left)
	}
	r.out.Description.Revocation = says
	r.found("revocation", says, "revoking a refresh token answered well")
	return nil
}

// reachOther sees whether another grant of the account ended too.
func (r *run) reachOther(ctx context.Context, other *grant, a *reached) error {
	if other == nil {
		return nil
	}
	reply, err := r.present(ctx, r.secret(), other.refresh)
	if err != nil {
		return err
	}
	over := reply.Outcome == perennial.OutcomeRevoked
	if a.note("another grant of the account", over); over {
		r.lost(other, true)
	} else if reply.Outcome == perennial.OutcomeRefreshed {
		other.take(reply.Tokens, r.asked)
	}
	return nil
}

func list(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}
