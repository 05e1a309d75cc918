package provider

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/resource"
	"golang.org/x/oauth2"
)

// Renewal says how the access token of a consent is renewed.
type Renewal string

// The ways. A connection of the last two keeps its access token in the refresh token's
// place, so that fence, spool and workflow treat it as any other.
const (
	RenewalRefreshToken Renewal = ""             // by a refresh token (RFC 6749 section 6)
	RenewalAccessToken  Renewal = "access_token" // the living access token is exchanged for a longer one
	RenewalNone         Renewal = "none"         // never: it is good until it is revoked
)

// TokenExchange is the request by which an access token brings its successor.
type TokenExchange struct {
	URL       string   `yaml:"url" doc:"Where the request goes."`
	Method    string   `yaml:"method,omitempty" enum:"GET,POST" doc:"GET sends the members in the address; POST, the default, as any token request."`
	GrantType string   `yaml:"grant_type,omitempty" doc:"Its grant_type: fb_exchange_token."`
	Parameter string   `yaml:"parameter" doc:"The member in which the access token is sent: fb_exchange_token, access_token."`
	Client    []string `yaml:"client,omitempty" doc:"What else it needs of the client: client_id, client_secret. Left out: nothing."`
}

func (x TokenExchange) isZero() bool {
	return x.URL+x.Method+x.GrantType+x.Parameter == "" && x.Client == nil
}

// heldToken is how an access token stands in the refresh token's place.
type heldToken struct {
	Token []byte `json:"held_access_token"`
	// First: the token is that of a consent, and not of an exchange.
	First bool `json:"first,omitempty"`
}

// hold returns an access token as it stands in the refresh token's place.
func hold(token perennial.Secret, first bool) perennial.Secret {
	raw, _ := json.Marshal(heldToken{[]byte(token.Reveal()), first}) // bytes always marshal
	return perennial.NewSecret(string(raw))
}

// openHeld reads what [hold] returned.
func openHeld(presented perennial.Secret) (token perennial.Secret, first, ok bool) {
	var held heldToken
	err := json.Unmarshal([]byte(presented.Reveal()), &held)
	return perennial.NewSecret(string(held.Token)), held.First, err == nil && len(held.Token) > 0
}

// shortLife is the longest life of an access token that counts as a consent's own if a
// caller brings it: it is measured in hours, that of an exchanged one in weeks.
const shortLife = day

// Stored returns a token set that a caller brings as it is stored: if the provider gives
// no refresh token, the access token takes its place. Whether the set is a consent's own
// shows in its lifetime. A set with another refresh token is an error of
// [perennial.CodeInvalid].
func (e Entry) Stored(t perennial.TokenSet) (perennial.TokenSet, error) {
	token, _, ok := openHeld(t.RefreshToken)
	switch {
	case e.Renewal == RenewalRefreshToken, ok && token.Digest() == t.AccessToken.Digest():
		return t, nil
	case !t.RefreshToken.IsZero():
		return t, perennial.Errorf(perennial.CodeInvalid, "%s gives no refresh tokens: give the access token alone", e.Title)
	}
	return e.held(t, t.ExpiresIn > 0 && t.ExpiresIn <= shortLife), nil
}

// held returns a token set with its access token in the refresh token's place. first
// says that the token is a consent's own.
func (e Entry) held(t perennial.TokenSet, first bool) perennial.TokenSet {
	if e.Renewal == RenewalRefreshToken || t.AccessToken.IsZero() {
		return t
	}
	t.RefreshToken = hold(t.AccessToken, first && e.Renewal == RenewalAccessToken)
	switch e.Renewal {
	case RenewalAccessToken:
		t.RefreshTokenExpiresIn = cmp.Or(t.ExpiresIn, e.DefaultLifetime)
	case RenewalNone:
		t.GrantExpiresIn = cmp.Or(t.GrantExpiresIn, t.ExpiresIn)
	}
	return t
}

// consented returns the token set of a code exchange as it is stored. A refresh token that
// the provider gives all the same would take the access token's place.
func (e Entry) consented(t perennial.TokenSet) perennial.TokenSet {
	return e.held(t, true)
}

// exchangeOf returns the request for the successor of an access token.
func (e Entry) exchangeOf(first bool) TokenExchange {
	if first && !e.FirstExchange.isZero() {
		return e.FirstExchange
	}
	return e.Exchange
}

// renewal reads how an access token is renewed.
func (o overlay) renewal() {
	if o.d.Renewal != "" {
		o.oneOf("renewal", o.d.Renewal, enumOf[Description]("Renewal"))
		o.e.Renewal = Renewal(strings.TrimPrefix(o.d.Renewal, "refresh_token"))
		if o.e.Renewal == RenewalNone && o.d.ReplayClass == "" {
			o.e.ReplayClass = perennial.ReplayReusable
			o.e.ReplaySource = cmp.Or(o.d.ReplaySource, "nothing is spent: the access token is only looked at")
		}
	}
	for _, x := range []struct {
		key  string
		from *TokenExchange
		to   *TokenExchange
	}{{"exchange", o.d.Exchange, &o.e.Exchange}, {"first_exchange", o.d.FirstExchange, &o.e.FirstExchange}} {
		if x.from != nil {
			*x.to = *x.from
			o.exchange(x.key, *x.from)
		}
	}
	if o.d.CheckURL != "" {
		o.url("check_url", o.d.CheckURL, o.e.HostSuffixes)
		o.e.CheckURL = o.d.CheckURL
	}
}

func (o overlay) exchange(key string, x TokenExchange) {
	if x.URL != "" {
		o.url(key+".url", x.URL, o.e.HostSuffixes)
	}
	if x.Method != "" {
		o.oneOf(key+".method", x.Method, enumOf[TokenExchange]("Method"))
	}
	for _, name := range x.Client {
		o.oneOf(key+".client", name, []string{credentialClientID, credentialClientSecret})
	}
	switch {
	case x.URL == "":
		o.report(key+".url", "is needed")
	case x.Parameter == "":
		o.report(key+".parameter", "is needed: the member in which the access token is sent")
	case slices.Contains([]string{"grant_type", credentialClientID, credentialClientSecret}, x.Parameter):
		o.report(key+".parameter", "is set by Perennial itself: name the member in which the access token is sent")
	}
}

// validateRenewal returns an error if an entry cannot renew its access tokens so.
func (e Entry) validateRenewal() error {
	invalid := func(says string) error {
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: %s", e.Name, says)
	}
	exchanges := !e.Exchange.isZero() || !e.FirstExchange.isZero()
	switch {
	case e.Renewal != RenewalAccessToken && exchanges:
		return invalid("exchange and first_exchange need renewal: access_token")
	case e.Renewal != RenewalNone && e.CheckURL != "":
		return invalid("check_url needs renewal: none")
	case e.Renewal == RenewalRefreshToken:
		return nil
	case e.Grant.FromCredentials():
		return invalid("renewal is for consents: leave it out with this grant")
	case !slices.Contains([]oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, AuthStyleNone}, e.AuthStyle):
		return invalid("renewal: " + string(e.Renewal) + " takes auth_style header, params or none")
	case e.RefreshURL != "":
		return invalid("refresh_url is for refresh tokens: leave it out with this renewal")
	case e.Renewal == RenewalNone && e.ReplayClass != perennial.ReplayReusable:
		return invalid("replay_class must be reusable, or left out: nothing is spent by a look at the access token")
	case e.Renewal == RenewalNone && e.checkURL() == "":
		return invalid("renewal: none needs a check_url, or account: {from: url}: without it nobody would notice that the access was removed")
	case e.Renewal == RenewalAccessToken && e.Exchange.isZero():
		return invalid("renewal: access_token needs an exchange")
	case e.Renewal == RenewalAccessToken && e.ServesToEnd():
		return invalid("replay_class cannot be reuse_revokes: an access token that is served to its end can bring no successor afterwards")
	}
	return nil
}

// checkURL returns the address that says whether an access token is still good.
func (e Entry) checkURL() string {
	if e.CheckURL == "" && e.Account.From == AccountFromURL {
		return e.Account.URL
	}
	return e.CheckURL
}

// looked judges the answer to a look at an access token. Nothing is spent by it, so no
// answer leaves anything in doubt.
func (o *oneShot) looked(e Entry) verdict {
	unauthorized := o.status == http.StatusUnauthorized
	switch {
	case o.status == 0:
		return verdict{outcome: perennial.OutcomeUnavailable, code: transportCode(o.err)}
	case o.status == http.StatusTooManyRequests:
		return verdict{outcome: perennial.OutcomeRateLimited, code: "too_many_requests"}
	case o.status >= 500:
		return verdict{outcome: perennial.OutcomeUnavailable, code: evidence{status: o.status}.byStatus().code}
	case unauthorized && e.API.ReadUnauthorized(o.header, o.body) != resource.UnauthorizedNotPermitted, e.API.RefusesToken(o.status, o.body):
		return verdict{outcome: perennial.OutcomeRevoked, code: "invalid_token", fault: perennial.FaultGrant}
	case o.status/100 == 2:
		return verdict{outcome: perennial.OutcomeRefreshed}
	}
	return evidence{status: o.status}.byStatus()
}
