package providerpages

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

var rotations = map[provider.Rotation]string{
	provider.RotationAlways:    "a new refresh token each time",
	provider.RotationSometimes: "a new refresh token sometimes",
	provider.RotationNever:     "no new refresh token",
}

// given says what a refresh brings.
func given(e provider.Entry) string {
	switch e.Renewal {
	case provider.RenewalAccessToken:
		return "another access token; there is no refresh token"
	case provider.RenewalNone:
		return "nothing: there is no refresh, and no refresh token"
	}
	return rotations[e.Rotation]
}

// renewals say how access is kept without a refresh token.
var renewals = map[provider.Renewal]string{
	provider.RenewalAccessToken: "the living access token is exchanged for the next one; once it has ended, the customer must reconnect",
	provider.RenewalNone:        "the access token is good until it is revoked; Perennial looks at it once a day",
}

var scopes = map[provider.RateLimitScope]string{
	provider.ScopeApp:  "a 429 concerns the whole app",
	provider.ScopeHost: "a 429 concerns the app at that host",
}

// costs name the cost of a lost reply, in a few words.
var costs = map[perennial.ReplayClass]string{
	perennial.ReplayReusable:     "nothing",
	perennial.ReplayGrace:        "nothing, if asked again in time",
	perennial.ReplaySingleUse:    "perhaps a reconnect",
	perennial.ReplayReuseRevokes: "perhaps a reconnect",
	perennial.ReplayUnknown:      "not known; perhaps a reconnect",
}

// reconnects say the same to the index: whether the customer may have to reconnect.
var reconnects = map[perennial.ReplayClass]string{
	perennial.ReplayReusable:     "no",
	perennial.ReplayGrace:        "no",
	perennial.ReplaySingleUse:    "perhaps",
	perennial.ReplayReuseRevokes: "perhaps",
	perennial.ReplayUnknown:      "perhaps (*not known*)",
}

// afterLoss says what happens after a lost reply, to the customer too.
func afterLoss(e provider.Entry) string {
	name, meanwhile := plain(e.Title), "; what is left of the access token is served meanwhile."
	if e.RefreshKillsAccessToken {
		meanwhile = "."
	}
	if e.Renewal == provider.RenewalNone {
		return "There is no refresh. The look at the access token spends nothing, and is repeated."
	}
	switch e.ReplayClass {
	case perennial.ReplayReusable:
		return "The refresh token stays good when it is used. Perennial asks again, and the customer notices nothing."
	case perennial.ReplayGrace:
		return fmt.Sprintf("%s takes the old refresh token again for %s after its first use. Perennial asks again within that time, and the customer notices nothing. Only if %s cannot be reached for that long may the customer have to reconnect%s", name, span(e.GraceWindow), name, afterGrace(e))
	case perennial.ReplaySingleUse:
		return "The old refresh token is dead once it was used. Perennial asks again, in case the request never arrived. If that is refused twice, the new token is lost, and the customer must reconnect" + meanwhile
	case perennial.ReplayReuseRevokes:
		if e.ServesToEnd() {
			return "To present a used refresh token again ends the whole grant, with the access token. So Perennial first serves the access token to its end, and only then asks again. If that is refused twice, the customer must reconnect."
		}
		return "To present a used refresh token again ends the whole grant. The refresh has ended the old access token anyway, so Perennial asks again at once. If that is refused twice, the customer must reconnect."
	}
	return fmt.Sprintf("What %s does with an old refresh token is not known. Perennial takes the careful side: Perennial asks again, in case the request never arrived. If that is refused twice, the customer must reconnect%s", name, meanwhile)
}

// afterGrace says what a replay costs after the grace window.
func afterGrace(e provider.Entry) string {
	said := ": a replay after it is refused."
	if e.Later() == perennial.ReplayReuseRevokes {
		said = ": a replay after it ends the whole grant."
		if e.AfterGrace == "" {
			said = ". What a replay after it costs is not documented: Perennial counts with the whole grant."
		}
		if !e.RefreshKillsAccessToken {
			said += " So after it the access token is first served to its end."
		}
	}
	return said
}

var outcomes = map[perennial.Outcome]string{
	perennial.OutcomeRevoked:       "the grant is dead: after a second refusal the customer must reconnect",
	perennial.OutcomeMisconfigured: "the app's client is wrong: an operator mends it, no customer reconnects",
	perennial.OutcomeRateLimited:   "too many requests: Perennial waits",
	perennial.OutcomeTooEarly:      "too early: Perennial waits until the access token is nearly over",
	perennial.OutcomeBusy:          "another request with the token is under way: Perennial asks again",
	perennial.OutcomeUnavailable:   "not now, and the token is not spent: Perennial asks again",
	perennial.OutcomeUnknown:       "not now, and the token may be spent: as a lost reply",
	perennial.OutcomeRejected:      "refused for another reason: Perennial asks again, and the connection shows as failing",
}

var factNames = map[string]string{
	"rotation": "rotation", "replay": "replay of an old refresh token", "lifetime": "life of the access token", "idle_clock": "unused refresh token",
	"hard_clock": "hard end of the grant", "refusal": "refusal of a dead grant", "wrong_client": "refusal of a wrong client", "rate_limit": "rate limit",
	"account": "account", "revocation": "revocation", "endpoints": "endpoints", "scopes": "scopes",
}

func after(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return "after " + span(d)
}

// customer says what a customer does, and what happens to them.
func (w *writer) customer(e provider.Entry) {
	name := plain(e.Title)
	w.line("## The customer\n")
	connect := fmt.Sprintf("**To connect**, they open your link, agree at %s and come back.", name)
	if path := strings.Split(e.Account.Name, "."); slices.Contains(path, "*") || slices.Contains(path, "0") {
		connect += " If the grant reaches several accounts, they choose one."
	}
	w.line("- %s", connect)
	w.line("- **Their account** %s.", account(e))
	if e.GrantLifetime > 0 {
		w.line("- **They must agree again** %s after the consent; Perennial says so 30, 7 and 1 days before.", span(e.GrantLifetime))
	}
	if e.IdleLifetime > 0 {
		w.line("- **While nobody uses it**, Perennial still refreshes the connection in time, also a paused one.")
	}
	w.line("- **To remove the access**, they go here: %s. The next refresh is then refused, and your product hears that a reconnect is needed.", or(strings.TrimSuffix(e.RemoveAccess, "."), notLookedUp))
	if e.RevokeURL != "" || e.TokenURL == "" {
		w.line("- **If your product disconnects them**, Perennial revokes the token%s.", at(e))
	} else {
		w.line("- **If your product disconnects them**, Perennial forgets the tokens. It knows no way to revoke them at %s, so the customer removes the access there.", name)
	}
	w.line("")
}

// at says where a token is revoked.
func at(e provider.Entry) string {
	if e.TokenURL == "" {
		return ", if the app has a `revoke_url`"
	}
	return " at " + plain(e.Title)
}

// account says what the account is called and where its id is found.
func account(e provider.Entry) string {
	called := "has an id"
	if e.AccountField != "" {
		called = "is known by its " + plain(e.AccountField)
	}
	name, from := code(e.Account.Name), ""
	switch e.Account.From {
	case provider.AccountFromCallback:
		from = "comes in the parameter " + name + " of the callback, which is verified with the new token"
	case provider.AccountFromReply:
		from = "comes in the member " + name + " of the token reply"
	case provider.AccountFromIDToken:
		from = "comes in the claim " + name + " of the ID token"
	case provider.AccountFromIntrospection:
		from = "comes in the member " + name + " of the introspection reply"
	case provider.AccountFromURL:
		from = "is asked for with the new token (" + name + " of " + code(e.Account.URL) + ")"
	case provider.AccountFromHost:
		return called + ": the host of the account"
	default:
		return called + ", but where it is found is *not looked up*: your configuration must say it ([`account`](../providers.md#the-keys))"
	}
	return called + ", which " + from
}
