package catalogue

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
)

// scenario is a part of a connection's life. Its name is the app's.
type scenario struct {
	name string
	run  func(w *world, app string)
}

var scenarios = []scenario{
	{"life", life},
	{"lost-reply", lostReply},
	{"lost-window", lostWindow},
	{"rivals", rivals},
	{"lost-request", lostRequest},
	{"revoked", revoked},
	{"false-refusal", falseRefusal},
	{"wrong-client", wrongClient},
	{"rate-limited", rateLimited},
	{"too-early", tooEarly},
	{"odd-lifetime", oddLifetime},
	{"other-account", otherAccount},
	{"forged-callback", forgedCallback},
	{"another-host", anotherHost},
	{"idle", idle},
	{"hard-end", hardEnd},
}

// life connects an account and refreshes it four times, each before the access token's
// end. Every token set that comes is stored.
func life(w *world, app string) {
	c := w.connects(app, 1)
	w.holds(c)
	for range 4 {
		res := w.step(c.ID)
		want(res.Outcome == perennial.OutcomeRefreshed, "a refresh brings %s (%s)", res.Outcome, res.Code)
		after := res.Connection
		want(after.Generation == c.Generation+1, "generation %d follows %d", after.Generation, c.Generation)
		last := w.presented(c)
		want(last[len(last)-1].LiveFor > 0, "it was refreshed after the access token's end, which it takes for %s", c.ExpiresAt)
		rotated := w.row(c.ID).RefreshTokenDigest != c.RefreshTokenDigest
		c = w.row(c.ID)
		w.holds(c)
		switch w.play.Entry.Rotation {
		case provider.RotationAlways:
			want(rotated, "it did not rotate")
		case provider.RotationNever:
			want(!rotated, "it rotated")
		}
		unnamed := c.FailingCode == refresh.CodeNoLifetime && w.known.entry.DefaultLifetime == 0
		want(c.Status == perennial.StatusActive && (c.Health == perennial.HealthHealthy || unnamed), "it is %s and %s (%s)", c.Status, c.Health, c.FailingCode)
	}
}

// lostReply loses the reply to a refresh whose work the provider did. What that costs is
// what the replay class of the sources says, and no more.
func lostReply(w *world, app string) {
	c := w.rotatesNext(w.connects(app, 1))
	old := w.token(c, seal.FieldAccessToken)
	w.adjust(c, func(k *fakeprovider.Knobs) { k.DropAfter = 1 })
	res := w.step(c.ID)
	want(res.Outcome == perennial.OutcomeUnknown, "a lost reply is %s", res.Outcome)
	facts := w.play.Entry
	if !facts.RefreshKillsAccessToken {
		want(w.server.Accepts(old.Reveal()), "the access token is dead")
	}
	res = w.settles(c.ID)
	again := w.presented(c)[int(c.RefreshCount)+1:]
	if !w.play.Knobs().Rotate {
		want(res.Outcome == perennial.OutcomeRefreshed, "nothing was spent, and it is lost: %s %s", res.Connection.Status, res.Connection.Reason)
		return
	}
	switch facts.ReplayClass {
	case perennial.ReplayReusable, perennial.ReplayGrace:
		want(res.Outcome == perennial.OutcomeRefreshed, "it is lost: %s %s", res.Connection.Status, res.Connection.Reason)
		w.holds(w.row(c.ID))
		return
	case perennial.ReplayReuseRevokes:
		want(facts.RefreshKillsAccessToken || again[0].LiveFor <= 0, "the token was presented again while an access token lived for %s", again[0].LiveFor)
	}
	want(res.Connection.Status == perennial.StatusReconnectRequired && res.Connection.Reason == perennial.ReasonRotationLost,
		"it is %s for %q, and we lost a reply", res.Connection.Status, res.Connection.Reason)
	want(len(again) == 2, "the refused token was presented %d times", len(again))
}

// rotatesNext refreshes a connection until its next refresh rotates.
func (w *world) rotatesNext(c perennial.Connection) perennial.Connection {
	for range max(w.play.Knobs().RotateEvery-1, 0) {
		want(w.step(c.ID).Outcome == perennial.OutcomeRefreshed, "it is not refreshed")
	}
	return w.row(c.ID)
}

// lostWindow loses a reply, and no worker runs until the provider's grace is over. The
// loss is ours, and the connection says so.
func lostWindow(w *world, app string) {
	facts := w.play.Entry
	if facts.ReplayClass != perennial.ReplayGrace || !w.play.Knobs().Rotate {
		return
	}
	c := w.rotatesNext(w.connects(app, 1))
	w.adjust(c, func(k *fakeprovider.Knobs) { k.DropAfter = 1 })
	want(w.step(c.ID).Outcome == perennial.OutcomeUnknown, "the reply is not lost")
	time.Sleep(facts.GraceWindow)
	res := w.settles(c.ID)
	want(res.Connection.Status == perennial.StatusReconnectRequired && res.Connection.Reason == perennial.ReasonRotationLost,
		"it is %s for %q, and we lost a reply", res.Connection.Status, res.Connection.Reason)
}

// rivals lets two attempts get an answer for one refresh token: the first one's process
// stands still between the reply and the save, and another takes over. Whichever is saved
// first, and whichever pair the provider lets live, the connection goes on.
func rivals(w *world, app string) {
	if w.play.Entry.ReplayClass != perennial.ReplayGrace || !w.play.Knobs().Rotate {
		return
	}
	for n, slowFirst := range []bool{false, true} {
		c := w.rotatesNext(w.connects(app, n+1))
		saved, over := make(chan bool), make(chan bool)
		w.afterReply(func() { // of the first
			time.Sleep(w.timing.Lease(w.known.entry) + time.Second)
			second := func() { w.refresh(w.row(c.ID), perennial.TriggerRetry); close(over) }
			if !slowFirst {
				second()
				return
			}
			w.afterReply(func() { <-saved })
			go second()
			time.Sleep(time.Second)
		})
		want(w.step(c.ID).Connection.Generation == c.Generation+1, "no set was stored")
		close(saved)
		<-over
		again := w.presented(c)
		want(again[len(again)-1].Digest == again[len(again)-2].Digest, "the token was not presented twice")
		want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed, "the pair that lives is lost: %s %s", w.row(c.ID).Status, w.row(c.ID).Reason)
		w.holds(w.row(c.ID))
		_, spare, err := w.store.Spare(w.ctx, c.ID)
		want(err == nil && !spare, "a pair is kept after another has worked")
	}
}

// lostRequest loses a request before the provider does any work. Nothing is lost.
func lostRequest(w *world, app string) {
	c := w.connects(app, 1)
	w.adjust(c, func(k *fakeprovider.Knobs) { k.DropBefore = 1 })
	res := w.step(c.ID)
	want(res.Outcome == perennial.OutcomeUnknown, "a lost request is %s", res.Outcome)
	res = w.settles(c.ID)
	want(res.Outcome == perennial.OutcomeRefreshed, "it ends as %s (%s)", res.Outcome, res.Code)
	w.holds(w.row(c.ID))
}

// revoked ends the grant at the provider. The connection must be reconnected after a
// confirmed refusal, and not before.
func revoked(w *world, app string) {
	c := w.connects(app, 1)
	must(w.server.Revoke("client-"+app, c.AccountID))
	res := w.step(c.ID)
	want(res.Outcome == perennial.OutcomeRevoked, "a dead refresh token is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
	want(res.Connection.Status == perennial.StatusActive, "one refusal is believed at once")
	res = w.settles(c.ID)
	want(res.Connection.Status == perennial.StatusReconnectRequired, "it is %s", res.Connection.Status)
	want(res.Connection.Reason == perennial.ReasonInvalidGrant, "the reason is %q", res.Connection.Reason)
	want(len(w.presented(c)) == 2, "the token was presented %d times", len(w.presented(c)))
	session := w.consent(connect.SessionRequest{ConnectionID: c.ID}, c.AccountID, nil)
	want(session.Outcome == perennial.ConnectConnected && session.ResultID == c.ID, "the reconnect ends as %q", session.Outcome)
	w.holds(w.row(c.ID))
}

// falseRefusal lets the provider refuse a good token once.
func falseRefusal(w *world, app string) {
	c := w.connects(app, 1)
	w.adjust(c, func(k *fakeprovider.Knobs) { k.SayRevoked = 1 })
	want(w.step(c.ID).Outcome == perennial.OutcomeRevoked, "the refusal is not read")
	res := w.step(c.ID)
	want(res.Outcome == perennial.OutcomeRefreshed, "it ends as %s", res.Outcome)
	w.holds(w.row(c.ID))
}

// wrongClient makes the app's secret wrong for two hours. No customer is accused.
func wrongClient(w *world, app string) {
	c := w.connects(app, 1)
	must(w.server.SetSecrets("client-"+app, "another"))
	until := time.Now().Add(w.rest(c) + 2*time.Hour)
	for time.Now().Before(until) {
		res := w.step(c.ID)
		want(res.Connection.Status == perennial.StatusActive, "the connection is %s", res.Connection.Status)
		want(res.Outcome != perennial.OutcomeRevoked, "a wrong client is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
		fault := perennial.FaultOf(res.Connection.FailingCode)
		want(fault != perennial.FaultGrant, "%s accuses the customer", res.Connection.FailingCode)
		if w.knows(fixtures.KindWrongClient) == perennial.OutcomeMisconfigured {
			want(fault == perennial.FaultClient, "%s does not accuse the app", res.Connection.FailingCode)
		}
	}
	must(w.server.SetSecrets("client-"+app, "secret of "+app))
	res := w.settles(c.ID)
	want(res.Outcome == perennial.OutcomeRefreshed, "with the right secret it is %s (%s)", res.Outcome, res.Code)
	w.holds(w.row(c.ID))
}

// knows returns what the sources say that the provider's refusal of a kind means. A
// refusal that no source shows means what its kind says.
func (w *world) knows(kind fixtures.Kind) perennial.Outcome {
	if r, ok := w.known.file.First(kind); ok {
		return r.Outcome
	}
	return perennial.OutcomeMisconfigured
}

// rest returns how long a connection rests until it is due.
func (w *world) rest(c perennial.Connection) time.Duration { return time.Until(c.NextRefreshAt) }

// limit is how long the provider refuses as too many.
const limit = 3 * time.Minute

// rateLimited lets the provider refuse one account as too many. Those that it counts
// together wait, and no others; everybody is refreshed afterwards.
func rateLimited(w *world, app string) {
	one, other := w.connects(app, 1), w.connects(app, 2)
	time.Sleep(w.rest(one))
	w.server.Limit("client-"+app, one.AccountID, limit)
	from, until := time.Now(), time.Now().Add(limit)
	res := w.refresh(one, perennial.TriggerTimer)
	want(res.Outcome == perennial.OutcomeRateLimited, "a limit is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
	want(perennial.FaultOf(w.row(one.ID).FailingCode) != perennial.FaultGrant, "%s accuses the customer", w.row(one.ID).FailingCode)
	before := len(w.presented(other))
	res = w.refresh(other, perennial.TriggerRequest)
	together := w.play.Entry.RateLimitScope == provider.ScopeApp || w.play.Entry.RateLimitScope == provider.ScopeHost && one.Host == other.Host
	if together {
		want(res.Outcome == perennial.OutcomeThrottled && len(w.presented(other)) == before, "an account that is counted together is %s", res.Outcome)
	} else {
		want(res.Outcome == perennial.OutcomeRefreshed, "an account of its own is %s (%s)", res.Outcome, res.Code)
	}
	res = w.settles(one.ID)
	want(res.Outcome == perennial.OutcomeRefreshed, "after the limit it is %s", res.Outcome)
	want(!time.Now().Before(until), "it was refreshed during the limit")
	if n, _ := w.server.Requests("", from, until.Add(-time.Second)); w.saysWhen() {
		want(n == 1 || n == 2 && !together, "the provider said when to come back, and was asked %d times before", n)
	}
	w.holds(w.row(one.ID))
	want(w.settles(other.ID).Outcome == perennial.OutcomeRefreshed, "the other one is not refreshed")
}

// saysWhen reports whether a refusal as too many names a time, as all do of which no
// source shows another form.
func (w *world) saysWhen() bool {
	r, shown := w.known.file.First(fixtures.KindRateLimited)
	for name := range r.Headers {
		if http.CanonicalHeaderKey(name) == "Retry-After" {
			return true
		}
	}
	return !shown
}

// tooEarly asks for a refresh at once. A provider that allows none so early is not asked,
// and nothing comes of that.
func tooEarly(w *world, app string) {
	c := w.connects(app, 1)
	within := w.play.Entry.RefreshWithin
	if within > 0 && w.play.Entry.Renewal == provider.RenewalAccessToken {
		want(w.step(c.ID).Outcome == perennial.OutcomeRefreshed, "the consent's own token is not exchanged")
		c = w.row(c.ID)
	}
	before := len(w.presented(c))
	res := w.refresh(c, perennial.TriggerRequest)
	if within == 0 {
		want(res.Outcome == perennial.OutcomeRefreshed, "a refresh at once is %s (%s)", res.Outcome, res.Code)
		return
	}
	want(res.Outcome == perennial.OutcomeThrottled && len(w.presented(c)) == before, "a refresh at once is %s (%d %s)", res.Outcome, res.HTTPStatus, res.Code)
	row := w.row(c.ID)
	want(row.Status == perennial.StatusActive && row.Health == perennial.HealthHealthy, "it is %s and %s", row.Status, row.Health)
	res = w.settles(c.ID)
	want(res.Outcome == perennial.OutcomeRefreshed, "it ends as %s", res.Outcome)
}

// oddLifetime gives tokens that live for a third of the usual time, and then a lifetime
// that cannot be read.
func oddLifetime(w *world, app string) {
	usual := time.Duration(w.play.Knobs().LifetimeSeconds * float64(time.Second))
	c := w.connects(app, 1)
	named := !c.ExpiresAt.IsZero() && w.names()
	short := (usual / 3).Truncate(time.Minute)
	w.adjust(c, func(k *fakeprovider.Knobs) { k.LifetimeSeconds = short.Seconds() })
	res := w.step(c.ID)
	want(res.Outcome == perennial.OutcomeRefreshed, "it is %s", res.Outcome)
	c = w.row(c.ID)
	if got := time.Until(c.ExpiresAt); named {
		want((got-short).Abs() < 5*time.Second, "a token that lives for %s is taken to live for %s", short, got)
	}
	if w.play.Entry.Renewal == provider.RenewalAccessToken && w.play.Entry.RefreshWithin > 0 {
		return // a token of 60 days that is taken for one of an hour is presented too early
	}
	w.adjust(c, func(k *fakeprovider.Knobs) { k.LifetimeSeconds, k.ExpiresIn = usual.Seconds(), "soon" })
	for range 2 {
		res = w.step(c.ID)
		want(res.Outcome == perennial.OutcomeRefreshed, "with an odd lifetime it is %s (%s)", res.Outcome, res.Code)
		c = w.row(c.ID)
		want(time.Until(c.ExpiresAt) <= usual+5*time.Second, "a token that lives for %s is taken to live for %s", usual, time.Until(c.ExpiresAt))
		w.holds(c)
	}
}

// names reports whether the provider's replies have the access token's lifetime.
func (w *world) names() bool {
	for _, kind := range []fixtures.Kind{fixtures.KindRefreshed, fixtures.KindExchange} {
		if r, ok := w.known.file.First(kind); ok {
			return strings.Contains(r.Body, "expire")
		}
	}
	return true
}

// otherAccount lets another account of the customer's follow the link for a reconnect.
// Nothing changes, and the right account can follow it then.
func otherAccount(w *world, app string) {
	c := w.connects(app, 1)
	if w.known.entry.Account.From == provider.AccountFromHost {
		return // the link leads to the account's own host
	}
	session := w.consent(connect.SessionRequest{ConnectionID: c.ID}, w.account(2), nil)
	want(session.Outcome == perennial.ConnectAccountMismatch, "another account ends as %q", session.Outcome)
	w.holds(w.row(c.ID))
	want(w.row(c.ID).Generation == c.Generation, "its tokens were taken")
	session = w.consent(connect.SessionRequest{ConnectionID: c.ID}, c.AccountID, nil)
	want(session.Outcome == perennial.ConnectConnected, "the right account ends as %q", session.Outcome)
	want(w.settles(c.ID).Outcome == perennial.OutcomeRefreshed, "it is not refreshed afterwards")
}

// forgedCallback names another account in the callback than the one that agreed.
func forgedCallback(w *world, app string) {
	from := w.known.entry.Account
	if from.From != provider.AccountFromCallback {
		return
	}
	session := w.consent(connect.SessionRequest{Tenant: tenant, App: app, Host: w.host(1)}, w.account(1),
		func(back url.Values) { back.Set(from.Name, w.account(2)) })
	want(session.Outcome != perennial.ConnectConnected, "the browser chose the account")
}

// anotherHost connects an account whose host is another one than the link's, as the
// callback says. It is refreshed there.
func anotherHost(w *world, app string) {
	e := w.known.entry
	others := slices.DeleteFunc(slices.Clone(e.HostSuffixes), func(host string) bool { return host[0] == '.' || host == w.host(1) })
	if e.HostFrom == "" || len(others) == 0 {
		return
	}
	w.elsewhere = others[0]
	defer func() { w.elsewhere = "" }()
	c := w.connects(app, 1)
	want(c.Host == others[0], "the connection is at %s, not at %s", c.Host, others[0])
	want(w.step(c.ID).Outcome == perennial.OutcomeRefreshed, "it is not refreshed there")
}

// idle leaves a connection alone until its refresh token ends unused, as when no worker
// runs.
func idle(w *world, app string) {
	unused, hard := w.play.Entry.IdleLifetime, w.play.Entry.GrantLifetime
	if hard > 0 && hard <= unused+time.Hour {
		return // both are over then, see hardEnd
	}
	w.ends(app, unused, perennial.ReasonIdleExpired)
}

// hardEnd leaves a connection alone until its grant ends.
func hardEnd(w *world, app string) {
	w.ends(app, w.play.Entry.GrantLifetime, perennial.ReasonGrantEnded)
}

func (w *world) ends(app string, after time.Duration, reason perennial.Reason) {
	if after == 0 {
		return
	}
	c := w.connects(app, 1)
	time.Sleep(after + time.Hour)
	res := w.settles(c.ID)
	want(res.Connection.Status == perennial.StatusReconnectRequired, "it is %s", res.Connection.Status)
	want(res.Connection.Reason == reason, "the reason is %q", res.Connection.Reason)
}
