package measure

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// run is one measurement under way.
type run struct {
	Config
	out    Result
	grant  *grant   // whose refresh token works, as far as we know; nil: the next experiment needs a consent
	grants []*grant // all that were given

	denied   unknown        // why no consent is asked for any more
	within   time.Duration  // the provider refreshes only so long before an access token's end
	asked    time.Time      // when the last request was sent
	made     provider.Reply // to a made-up refresh token
	spelt    []provider.Spelling
	now      experiment
	rotating provider.Rotation
	class    perennial.ReplayClass
	bracket  bracket // of the grace window
}

// grant is one consent that was given for the measurement.
type grant struct {
	access, refresh perennial.Secret
	since           time.Time     // when the access token was asked for
	lifetime        time.Duration // of the access token, as the reply was read
	ends            time.Duration // of the refresh token, unused; 0: the reply does not say
	over            bool          // it is dead
}

func (g *grant) take(t perennial.TokenSet, asked time.Time) (rotated bool) {
	g.access, g.lifetime, g.since = t.AccessToken, t.ExpiresIn, asked
	if t.RefreshTokenExpiresIn > 0 {
		g.ends = t.RefreshTokenExpiresIn
	}
	if t.RefreshToken.IsZero() || t.RefreshToken.Digest() == g.refresh.Digest() {
		return false
	}
	g.refresh = t.RefreshToken
	return true
}

// unknown says why something cannot be measured. It ends an experiment and no other.
type unknown string

func (u unknown) Error() string { return string(u) }

// hopeless says why no other experiment would show anything.
type hopeless struct{ error }

// Run makes the experiments of [Plan], one after another, and revokes the grants. It
// returns an error only if nothing can be measured, or with the result so far if ctx
// ends.
func Run(ctx context.Context, c Config) (Result, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return Result{}, err
	}
	r := &run{Config: c}
	var stopped error
	for _, e := range experiments {
		if stopped = ctx.Err(); stopped != nil {
			break
		}
		if stopped = r.make(ctx, e); stopped != nil {
			return Result{}, stopped
		}
	}
	r.end(ctx)
	r.out.Description.Spellings = r.spelt
	r.out.Description.Evidence = evidence(r.out.Findings, time.Now())
	return r.out, stopped
}

// make makes one experiment. Its error is of one that leaves the others no hope.
func (r *run) make(ctx context.Context, e experiment) error {
	r.now = e
	if why := e.cannot(r.Config); why != "" {
		r.missed(why)
		return nil
	}
	r.Say(e.title)
	var why unknown
	var none hopeless
	switch err := e.do(r, ctx); {
	case err == nil:
	case errors.As(err, &none):
		return none.error
	case errors.As(err, &why):
		r.missed(string(why))
	case ctx.Err() != nil:
		r.missed("it was interrupted")
	default:
		r.missed(err.Error())
	}
	return nil
}

// found records a finding.
func (r *run) found(key, value, format string, args ...any) {
	r.out.Findings = append(r.out.Findings, Finding{Experiment: r.now.name, Key: key, Value: value, Saw: fmt.Sprintf(format, args...)})
}

// missed records for each key of the experiment that has no finding why that is so.
func (r *run) missed(why string) {
	for _, key := range r.now.keys {
		if r.out.Value(key) == "" {
			r.out.Findings = append(r.out.Findings, Finding{Experiment: r.now.name, Key: key, NotMeasured: why})
		}
	}
}

// living returns a grant whose refresh token works, from a new consent if there is none.
func (r *run) living(ctx context.Context) (*grant, error) {
	if r.grant == nil {
		return r.consent(ctx)
	}
	return r.grant, nil
}

// consent asks for a new grant.
func (r *run) consent(ctx context.Context) (*grant, error) {
	if r.denied != "" {
		return nil, r.denied
	}
	if r.out.Consents >= r.Consents {
		return nil, unknown(fmt.Sprintf("it needs one more consent than the %d that are allowed", r.Consents))
	}
	r.out.Consents++
	asked := time.Now()
	tokens, err := r.Consent(ctx)
	if err != nil {
		r.denied = unknown("the consent was not given: " + err.Error()) // no other consent is asked for
		return nil, r.denied
	}
	g := &grant{}
	g.take(tokens, asked)
	r.grants = append(r.grants, g)
	if tokens.RefreshToken.IsZero() {
		return nil, unknown("the consent brought no refresh token")
	}
	r.grant = g
	return g, nil
}

// lost says that a grant is dead, or may be.
func (r *run) lost(g *grant, dead bool) {
	g.over = dead
	if r.grant == g {
		r.grant = nil
	}
}

const (
	requestTime = 30 * time.Second // of one request
	patience    = 3                // requests before a limit or an unreachable server is final
)

// present presents a token once, or again as often as the provider did not look at it.
// The reply is a success or a refusal.
func (r *run) present(ctx context.Context, secret, token perennial.Secret) (reply provider.Reply, err error) {
	for range patience {
		reply = r.request(ctx, secret, token)
		pause := time.Second
		switch reply.Outcome {
		case perennial.OutcomeUnknown:
			return reply, unknown("a reply was lost or could not be read: " + saw(reply))
		case perennial.OutcomeRateLimited:
			pause = max(reply.RetryAfter, 10*time.Second)
		case perennial.OutcomeUnavailable, perennial.OutcomeBusy:
		default:
			return reply, ctx.Err()
		}
		if err := r.wait(ctx, pause, "the provider asks to wait"); err != nil {
			return reply, err
		}
	}
	return reply, unknown("the provider did not answer: " + saw(reply))
}

func (r *run) request(ctx context.Context, secret, token perennial.Secret) provider.Reply {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	r.asked = time.Now()
	return r.Client.Refresh(ctx, r.App, secret, token, func(context.Context) error { return nil })
}

// secret returns the client secret that is right.
func (r *run) secret() perennial.Secret { return r.App.Secrets()[0] }

// renew refreshes a grant as a good client would, as soon as the provider allows it. A
// refusal is an error: the grant is dead then.
func (r *run) renew(ctx context.Context, g *grant) (rotated bool, err error) {
	if err := r.ready(ctx, g); err != nil {
		return false, err
	}
	reply, err := r.present(ctx, r.secret(), g.refresh)
	switch {
	case err != nil:
		r.lost(g, false)
		return false, err
	case reply.Outcome != perennial.OutcomeRefreshed:
		r.lost(g, reply.Outcome == perennial.OutcomeRevoked)
		return false, unknown("a refresh with the newest refresh token was refused: " + saw(reply))
	}
	return g.take(reply.Tokens, r.asked), nil
}

// ready waits until the provider refreshes a grant.
func (r *run) ready(ctx context.Context, g *grant) error {
	if r.within == 0 || g.lifetime == 0 {
		return ctx.Err()
	}
	opens := g.since.Add(g.lifetime - r.within)
	return r.wait(ctx, time.Until(opens)+time.Second, "a refresh is too early before the access token's end")
}

// wait waits for an effect, if that is not longer than allowed.
func (r *run) wait(ctx context.Context, d time.Duration, what string) error {
	if d <= 0 {
		return ctx.Err()
	}
	if d > r.Longest+margin(r.Longest) {
		return unknown(fmt.Sprintf("%s: it would take a wait of %s, and the longest allowed is %s", what, d.Round(time.Second), r.Longest))
	}
	if d > 2*time.Second {
		r.Say(fmt.Sprintf("waiting %s", d.Round(time.Second)))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// madeUp returns a text that no server has given, in place of a token or a secret.
func madeUp() perennial.Secret { return perennial.NewSecret("made-up-" + rand.Text() + rand.Text()) }

// saw says in a few words what a reply was.
func saw(reply provider.Reply) string {
	if reply.Outcome == perennial.OutcomeRefreshed {
		return "tokens"
	}
	status := "no reply"
	if reply.HTTPStatus > 0 {
		status = fmt.Sprintf("HTTP %d", reply.HTTPStatus)
	}
	if reply.Code == "" {
		return fmt.Sprintf("%s, read as %s", status, reply.Outcome)
	}
	return fmt.Sprintf("%s %s, read as %s", status, reply.Code, reply.Outcome)
}

// end revokes what is left of the grants. It goes on after an interruption.
func (r *run) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*requestTime)
	defer cancel()
	for _, g := range r.grants {
		if g.over {
			continue
		}
		token := g.refresh
		if token.IsZero() {
			token = g.access
		}
		if r.App.Provider.RevokeURL == "" || r.Client.Revoke(ctx, r.App, token) != nil {
			r.out.Left++
		}
	}
}
