package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// early refreshes at once after the consent. If that is refused as too early, it tries
// again closer and closer to the access token's end.
func (r *run) early(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	ended := time.Duration(0) // how long before the end it was still too early
	for _, before := range append([]time.Duration{g.lifetime}, closer(g.lifetime)...) {
		if err := r.wait(ctx, time.Until(g.since.Add(g.lifetime-before)), "the first refresh was too early"); err != nil {
			return err
		}
		reply, err := r.present(ctx, r.secret(), g.refresh)
		switch {
		case err != nil:
			r.lost(g, false)
			return err
		case reply.Outcome == perennial.OutcomeTooEarly:
			ended = before
		case reply.Outcome == perennial.OutcomeRefreshed:
			g.take(reply.Tokens, r.asked)
			r.opened(before, ended)
			return nil
		default:
			r.lost(g, reply.Outcome == perennial.OutcomeRevoked)
			return unknown("the first refresh was refused: " + saw(reply))
		}
	}
	return unknown("every refresh was too early, up to the access token's end")
}

// opened records from when on a refresh is allowed.
func (r *run) opened(before, ended time.Duration) {
	if ended == 0 {
		r.found("refresh_within", "none", "a refresh at once after the consent brought tokens")
		return
	}
	b := bracket{from: before, to: ended}
	r.within = b.round()
	if r.within == 0 {
		r.within = before
	}
	r.out.Description.RefreshWithin = provider.Span(written(r.within))
	r.found("refresh_within", written(r.within), "a refresh %s before the access token's end was too early, and %s before it brought tokens", ended.Round(time.Second), before.Round(time.Second))
}

// closer returns times before the end of a lifetime, each closer to it.
func closer(lifetime time.Duration) (before []time.Duration) {
	all := probes(lifetime)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i] < lifetime {
			before = append(before, all[i])
		}
	}
	return before
}

// oldAccessToken uses an access token after a refresh.
func (r *run) oldAccessToken(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	old := g.access
	if err := r.works(ctx, old, "an access token that has just come"); err != nil {
		return err
	}
	if _, err := r.renew(ctx, g); err != nil {
		return err
	}
	if err := r.works(ctx, g.access, "the new access token"); err != nil {
		return err
	}
	alive, err := r.Alive(ctx, old)
	if err != nil {
		return err
	}
	kills := !alive
	r.out.Description.RefreshKills = &kills
	if kills {
		r.found("refresh_kills_access_token", "true", "the old access token is refused after the refresh, and the new one works")
	} else {
		r.found("refresh_kills_access_token", "false", "the old access token still works after the refresh")
	}
	return nil
}

// works wants an access token to work, so that a later refusal means something.
func (r *run) works(ctx context.Context, token perennial.Secret, what string) error {
	alive, err := r.Alive(ctx, token)
	if err == nil && !alive {
		err = unknown(what + " is refused too: the address is not for it, or the scopes do not reach")
	}
	return err
}

// refreshes is how often the rotation is looked at.
const refreshes = 4

// rotation refreshes several times and compares the refresh tokens.
func (r *run) rotation(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	n := 0
	for range refreshes {
		rotated, err := r.renew(ctx, g)
		if err != nil {
			return err
		}
		if rotated {
			n++
		}
	}
	switch n {
	case 0:
		r.rotating = provider.RotationNever
	case refreshes:
		r.rotating = provider.RotationAlways
	default:
		r.rotating = provider.RotationSometimes
	}
	r.out.Description.Rotation = string(r.rotating)
	r.found("rotation", string(r.rotating), "%d of %d refreshes brought a new refresh token", n, refreshes)
	return nil
}

// life uses an access token just before and just after its end.
func (r *run) life(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	read := whole(g.lifetime)
	if read > 0 {
		r.out.Description.DefaultLifetime = provider.Span(written(read))
		r.found("default_lifetime", written(read), "the replies say so")
	}
	if r.Alive == nil {
		return unknown("nothing says whether an access token works: name an address of the API")
	}
	if _, err := r.renew(ctx, g); err != nil { // a fresh access token
		return err
	}
	if err := r.works(ctx, g.access, "an access token that has just come"); err != nil {
		return err
	}
	b, err := r.watch(ctx, g, read)
	if err != nil {
		return err
	}
	r.lived(read, b)
	return nil
}

// whole returns a lifetime without the second that the provider may have counted since it
// made the token.
func whole(d time.Duration) time.Duration {
	if up := d.Round(time.Minute); up > d && up-d <= 2*time.Second {
		return up
	}
	return d
}

// factors are those by which a lifetime in another unit is misread.
var factors = []struct {
	by   float64
	unit time.Duration
}{{0.001, time.Millisecond}, {1.0 / 60, 0}, {1, time.Second}, {60, time.Minute}, {1000, 0}, {3600, time.Hour}}

// watch waits for the end of a grant's access token: at the lifetime that was read, also
// in other units, or at any round time if none was read.
func (r *run) watch(ctx context.Context, g *grant, read time.Duration) (b bracket, err error) {
	at := probes(r.Longest)
	if read > 0 {
		at = nil
		for _, f := range factors {
			if end := time.Duration(float64(read) * f.by); end >= 2*time.Second && end <= r.Longest {
				at = append(at, end-margin(end), end+margin(end))
			}
		}
	}
	for _, when := range at {
		if err := r.wait(ctx, time.Until(g.since.Add(when)), ""); err != nil {
			return b, err
		}
		alive, err := r.Alive(ctx, g.access)
		switch {
		case err != nil:
			return b, err
		case !alive:
			b.to = when
			return b, nil
		}
		b.from = when
	}
	if read > r.Longest {
		return b, unknown(fmt.Sprintf("the access token is said to live for %s, and the longest wait is %s", written(read), r.Longest))
	}
	return b, unknown(fmt.Sprintf("the access token still worked after %s", b.from.Round(time.Second)))
}

// lived records how long an access token really lived.
func (r *run) lived(read time.Duration, b bracket) {
	if read == 0 {
		end := b.round()
		r.out.Description.DefaultLifetime = provider.Span(written(end))
		r.found("default_lifetime", written(end), "the replies name none; the access token worked after %s and not after %s", b.from, b.to)
		return
	}
	base := r.App.Provider.LifetimeUnit
	if base == 0 {
		base = time.Second
	}
	for _, f := range factors {
		end := time.Duration(float64(read) * f.by)
		if end < b.from || end > b.to {
			continue
		}
		unit := time.Duration(float64(base) * f.by)
		if f.by != 1 {
			r.out.Description.LifetimeUnit = provider.Span(written(unit))
			r.correct("default_lifetime", written(end))
			r.out.Description.DefaultLifetime = provider.Span(written(end))
		}
		r.found("lifetime_unit", written(unit), "the access token worked after %s and not after %s; %s was read", b.from, b.to, written(read))
		return
	}
	r.missed(fmt.Sprintf("the access token worked after %s and not after %s, though %s was read", b.from, b.to, written(read)))
}

// correct replaces the value of a finding.
func (r *run) correct(key, value string) {
	for i := range r.out.Findings {
		if r.out.Findings[i].Key == key {
			r.out.Findings[i].Value = value
		}
	}
}
