package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// replay presents an old refresh token after its successor came: at once, and then later
// and later until it is refused.
func (r *run) replay(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	if r.rotating == provider.RotationNever {
		r.isClass(perennial.ReplayReusable, "no refresh brought a new refresh token: the same one was presented each time")
		return nil
	}
	old, used, err := r.rotate(ctx, g)
	if err != nil {
		return err
	}
	reply, err := r.again(ctx, g, old)
	switch {
	case err != nil:
		return err
	case reply.Outcome == perennial.OutcomeRefreshed:
		r.gives(g, reply)
		return r.window(ctx, g, old, used)
	}
	r.refusedAgain(reply)
	class, how, err := r.after(ctx, g)
	if err != nil {
		return err
	}
	r.isClass(class, "an old refresh token is refused at once (%s), and %s", saw(reply), how)
	return nil
}

// rotate refreshes a grant until that brings a new refresh token. It returns the old one,
// and when that was first sent.
func (r *run) rotate(ctx context.Context, g *grant) (old perennial.Secret, used time.Time, err error) {
	for range refreshes {
		old = g.refresh
		rotated, err := r.renew(ctx, g)
		if err != nil || rotated {
			return old, g.since, err
		}
	}
	return old, used, unknown(fmt.Sprintf("%d refreshes brought no new refresh token", refreshes))
}

// again presents an old refresh token.
func (r *run) again(ctx context.Context, g *grant, old perennial.Secret) (provider.Reply, error) {
	reply, err := r.present(ctx, r.secret(), old)
	if err == nil && reply.Outcome == perennial.OutcomeTooEarly {
		err = unknown("the provider refuses it as too early, and does not say whether it knows it")
	}
	if err != nil {
		r.lost(g, false)
	}
	return reply, err
}

// gives records what a replay that works brings.
func (r *run) gives(g *grant, reply provider.Reply) {
	if reply.Tokens.RefreshToken.IsZero() || reply.Tokens.RefreshToken.Digest() == g.refresh.Digest() {
		r.found(KeyReplayGives, "same_pair", "an old refresh token brings the refresh token that its first use brought")
		return
	}
	r.found(KeyReplayGives, "another_pair", "an old refresh token brings another refresh token than its first use did")
	r.newest(g, reply)
}

// newest keeps the refresh token that a replay brought: it may have ended the one before.
func (r *run) newest(g *grant, reply provider.Reply) {
	if !reply.Tokens.RefreshToken.IsZero() {
		g.take(reply.Tokens, r.asked)
	}
}

// refusedAgain compares the refusal of a used refresh token with that of a made-up one.
func (r *run) refusedAgain(reply provider.Reply) {
	if reply.Outcome != perennial.OutcomeRevoked && !(r.made.Outcome != "" && same(reply, r.made)) {
		r.spells(reply, perennial.OutcomeRevoked, "a used refresh token")
	}
}

// after presents the newest refresh token after an old one was refused. If it works, the
// refusal cost nothing more.
func (r *run) after(ctx context.Context, g *grant) (class perennial.ReplayClass, how string, err error) {
	if err := r.ready(ctx, g); err != nil {
		return "", "", err
	}
	reply, err := r.present(ctx, r.secret(), g.refresh)
	switch {
	case err != nil:
		r.lost(g, false)
		return "", "", err
	case reply.Outcome == perennial.OutcomeRefreshed:
		g.take(reply.Tokens, r.asked)
		return perennial.ReplaySingleUse, "the new one still works", nil
	}
	r.lost(g, true)
	return perennial.ReplayReuseRevokes, "the new one is dead then: " + saw(reply), nil
}

// window presents an old refresh token later and later.
func (r *run) window(ctx context.Context, g *grant, old perennial.Secret, used time.Time) error {
	longest := r.Longest
	for _, clock := range []time.Duration{g.ends, r.App.Provider.IdleLifetime, r.App.Provider.GrantLifetime} {
		if clock > 0 { // beyond it, a refusal would say nothing about the window
			longest = min(longest, clock*3/4)
		}
	}
	r.bracket.open = true
	for _, at := range probes(longest) {
		if err := r.wait(ctx, time.Until(used.Add(at)), ""); err != nil {
			return err
		}
		reply, err := r.again(ctx, g, old)
		if err != nil {
			return err
		}
		if reply.Outcome != perennial.OutcomeRefreshed {
			r.bracket.to, r.bracket.open = at, false
			r.refusedAgain(reply)
			return r.ended(ctx, g)
		}
		r.newest(g, reply)
		r.bracket.from = at
	}
	return r.endless(ctx, g, old, longest)
}

// ended records a window whose end was seen, and what a replay after it costs.
func (r *run) ended(ctx context.Context, g *grant) error {
	class, how, err := r.after(ctx, g)
	if err != nil {
		return err
	}
	if r.bracket.round() == 0 {
		r.isClass(class, "an old refresh token works at once and not after %s, and %s", r.bracket.to, how)
		return nil
	}
	r.found(KeyAfterWindow, string(class), "an old refresh token is refused after the grace, and %s", how)
	r.isGrace()
	return nil
}

// minReusable is the shortest wait after which a refresh token that still works counts as
// one that may be presented at any time. Only one documented grace is longer.
const minReusable = 31 * day

// endless records a window whose end was not seen. A token that works even after its
// successor was used, and for long, is reusable.
func (r *run) endless(ctx context.Context, g *grant, old perennial.Secret, longest time.Duration) error {
	if _, err := r.renew(ctx, g); err != nil {
		return err
	}
	reply, err := r.again(ctx, g, old)
	if err != nil {
		return err
	}
	works := reply.Outcome == perennial.OutcomeRefreshed
	r.found(KeyGraceEnds, fmt.Sprint(!works), "after the new refresh token was used, the old one is answered with %s", saw(reply))
	if !works {
		if class, how, err := r.after(ctx, g); err == nil {
			r.found(KeyAfterWindow, string(class), "an old refresh token is refused after the new one was used, and %s", how)
		}
	}
	if works && longest >= minReusable {
		r.isClass(perennial.ReplayReusable, "an old refresh token works after %s, and after the new one was used", longest)
		return nil
	}
	if r.bracket.round() == 0 {
		return unknown(fmt.Sprintf("an old refresh token works at once; to see for how long takes a longer wait than %s", longest))
	}
	r.isGrace()
	return nil
}

// isGrace records the class grace with the window that was seen.
func (r *run) isGrace() {
	window, b := r.bracket.round(), r.bracket
	r.isClass(perennial.ReplayGrace, "an old refresh token works for a time")
	r.out.Description.GraceWindow = provider.Span(written(window))
	switch {
	case b.open:
		r.found("grace_window", written(window), "an old refresh token works after %s; its end was not seen, it may also be reusable", b.from)
	case b.exact():
		r.found("grace_window", written(window), "an old refresh token works after %s and not after %s", b.from, b.to)
	default:
		r.found("grace_window", written(window), "an old refresh token works after %s and not after %s: the careful end is taken", b.from, b.to)
	}
}

// isClass records the replay class.
func (r *run) isClass(class perennial.ReplayClass, format string, args ...any) {
	r.class = class
	r.out.Description.ReplayClass, r.out.Description.ReplaySource = string(class), source
	r.found("replay_class", string(class), format, args...)
}

// grace checks a window on a grant of its own, whose old token is not presented before the
// end: a provider may count the window from the last replay. Then it sees whether the use
// of the new refresh token ends the grace.
func (r *run) grace(ctx context.Context) error {
	if r.class != perennial.ReplayGrace {
		return unknown("an old refresh token has no grace")
	}
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	old, used, err := r.rotate(ctx, g)
	if err != nil {
		return err
	}
	if err := r.wait(ctx, time.Until(used.Add(r.bracket.from)), ""); err != nil {
		return err
	}
	reply, err := r.again(ctx, g, old)
	switch {
	case err != nil:
		return err
	case reply.Outcome != perennial.OutcomeRefreshed:
		r.lost(g, false)
		r.retract(fmt.Sprintf("an old refresh token that was presented in between works for %s, and one that was not does not: each presentation may lengthen the window", r.bracket.from))
		return nil
	}
	if r.out.Value(KeyGraceEnds) != "" {
		return nil
	}
	return r.graceEnds(ctx, g)
}

// graceEnds presents an old refresh token at once after its successor was used.
func (r *run) graceEnds(ctx context.Context, g *grant) error {
	old, _, err := r.rotate(ctx, g)
	if err != nil {
		return err
	}
	if _, err := r.renew(ctx, g); err != nil {
		return err
	}
	reply, err := r.again(ctx, g, old)
	if err != nil {
		return err
	}
	works := reply.Outcome == perennial.OutcomeRefreshed
	if !works {
		if _, _, err := r.after(ctx, g); err != nil {
			return err
		}
	}
	r.found(KeyGraceEnds, fmt.Sprint(!works), "at once after the new refresh token was used, the old one is answered with %s", saw(reply))
	return nil
}

// retract takes back the window.
func (r *run) retract(why string) {
	r.out.Description.GraceWindow, r.out.Description.ReplayClass, r.out.Description.ReplaySource = "", "", ""
	for i, f := range r.out.Findings {
		if f.Key == "grace_window" || f.Key == "replay_class" {
			r.out.Findings[i].Value, r.out.Findings[i].NotMeasured = "", why
		}
	}
}
