package measure

import (
	"cmp"
	"context"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// deadToken sees how a refresh token is refused that never was one.
func (r *run) deadToken(ctx context.Context) error {
	reply, err := r.present(ctx, r.secret(), madeUp())
	if err != nil {
		return err
	}
	switch {
	case reply.Outcome == perennial.OutcomeRefreshed:
		return unknown("the provider gave tokens for a made-up refresh token")
	case reply.Outcome == perennial.OutcomeMisconfigured:
		if err := r.clientIsRight(ctx, reply); err != nil {
			return err
		}
	}
	r.made = reply
	r.spells(reply, perennial.OutcomeRevoked, "a made-up refresh token")
	return nil
}

// clientIsRight returns a [hopeless] error if a made-up client secret is refused in the same
// way as the right one.
func (r *run) clientIsRight(ctx context.Context, reply provider.Reply) error {
	if hasSecret(r.Config) == "" {
		other, err := r.present(ctx, madeUp(), madeUp())
		if err != nil {
			return err
		}
		if !same(other, reply) {
			return nil
		}
	}
	return hopeless{perennial.Errorf(perennial.CodeInvalid, "the provider refuses the client (%s): check the client id, the secret and auth_style", saw(reply))}
}

// spells records how the provider refuses something. A refusal that the description
// reads otherwise gives a spelling.
func (r *run) spells(reply provider.Reply, as perennial.Outcome, what string) {
	key := "spellings." + string(as)
	if reply.Outcome == as {
		r.found(key, "understood", "%s: %s", what, saw(reply))
		return
	}
	s, ok := spelling(reply, as)
	if !ok {
		r.out.Findings = append(r.out.Findings, Finding{Experiment: r.now.name, Key: key, NotMeasured: what + " is refused without a code: " + saw(reply) + "; `perennial provider try` shows the reply"})
		return
	}
	r.spelt = append(r.spelt, s)
	r.found(key, cmp.Or(s.Code, s.Contains), "%s: %s: no spelling says what that means", what, saw(reply))
}

// spelling returns a spelling that matches a refusal. Without a code in the reply there
// is none: the status alone would match too much.
func spelling(reply provider.Reply, as perennial.Outcome) (provider.Spelling, bool) {
	s := provider.Spelling{HTTPStatus: reply.HTTPStatus, Code: reply.Code, Outcome: as}
	if as == perennial.OutcomeMisconfigured {
		s.Fault = perennial.FaultClient
	}
	if ownCode(s.Code) {
		s.Code = ""
		if s.Contains = reply.Description; s.Contains == "" || strings.Contains(s.Contains, "[redacted]") {
			return s, false
		}
	}
	return s, true
}

// ownCode reports whether a code is not the reply's.
func ownCode(code string) bool {
	switch code {
	case "", "endpoint_not_found", "redirected", "malformed_reply", "too_many_requests":
		return true
	}
	return strings.HasPrefix(code, "http_")
}

// same reports whether two refusals read alike.
func same(a, b provider.Reply) bool {
	return a.HTTPStatus == b.HTTPStatus && a.Code == b.Code && a.Description == b.Description
}

// clientFirst sees what is refused first, a wrong client or a dead token.
func (r *run) clientFirst(ctx context.Context) error {
	if r.made.Outcome == "" {
		return unknown("how a dead refresh token is refused is not known")
	}
	reply, err := r.present(ctx, madeUp(), madeUp())
	switch {
	case err != nil:
		return err
	case reply.Outcome == perennial.OutcomeRefreshed:
		return unknown("the provider gave tokens for made-up ones")
	}
	first := !same(reply, r.made)
	if first && reply.Outcome == perennial.OutcomeRevoked && r.made.Outcome == perennial.OutcomeRevoked {
		return unknown("the two refusals differ, but neither accuses the client: " + saw(reply))
	}
	r.out.Description.ChecksClient = &first
	if !first {
		r.found("checks_client_first", "false", "a made-up token is refused alike with a right and with a made-up secret: %s", saw(reply))
		return unknown("the token is looked at before the client, so nothing shows how a wrong client is refused alone")
	}
	r.found("checks_client_first", "true", "with a made-up secret the refusal is another one: %s", saw(reply))
	r.spells(reply, perennial.OutcomeMisconfigured, "a made-up client secret")
	return nil
}

// wrongClient presents a good refresh token with a made-up client secret. Afterwards the
// token works with the right secret, or the provider has spent it.
func (r *run) wrongClient(ctx context.Context) error {
	g, err := r.living(ctx)
	if err != nil {
		return err
	}
	reply, err := r.present(ctx, madeUp(), g.refresh)
	switch {
	case err != nil:
		r.lost(g, false)
		return err
	case reply.Outcome == perennial.OutcomeRefreshed:
		g.take(reply.Tokens, r.asked)
		return unknown("the provider does not look at the client secret: a made-up one brought tokens")
	}
	if r.out.Value("spellings.misconfigured") == "" {
		r.spells(reply, perennial.OutcomeMisconfigured, "a made-up client secret")
	}
	again, err := r.present(ctx, r.secret(), g.refresh)
	switch {
	case err != nil:
		r.lost(g, false)
		return err
	case again.Outcome == perennial.OutcomeRefreshed:
		g.take(again.Tokens, r.asked)
		r.found(KeyWrongClientSpends, "false", "the token works after a refusal of the client (%s)", saw(reply))
	case again.Outcome == perennial.OutcomeTooEarly:
		r.found(KeyWrongClientSpends, "false", "the token is still known after a refusal of the client (%s)", saw(reply))
	default:
		r.lost(g, again.Outcome == perennial.OutcomeRevoked)
		r.found(KeyWrongClientSpends, "true", "a refusal of the client (%s) spent the token: %s", saw(reply), saw(again))
	}
	return nil
}
