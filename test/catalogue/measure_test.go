package catalogue

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// measured measures the provider that the sources of k describe, with requests in the
// form of e. change alters how the provider behaves.
func measured(t *testing.T, k known, e provider.Entry, change func(*fakeprovider.Knobs)) (out measure.Result, play *fakeprovider.Play) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		play, err = fakeprovider.NewPlay(k.entry, k.file)
		require.NoError(t, err)
		knobs := play.Knobs()
		if change != nil {
			change(&knobs)
		}
		const redirect = baseURL + "/back"
		clients := map[string]fakeprovider.Client{"client": {Secrets: []string{"the right secret"}, RedirectURIs: []string{redirect}, Knobs: knobs}}
		w := &world{ctx: t.Context(), known: known{e, k.file}, play: play}
		w.server, err = fakeprovider.New(fakeprovider.Config{Clients: clients, Play: play})
		require.NoError(t, err)
		app := provider.App{Name: "app", Provider: e, ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret("the right secret")}}
		if w.host(1) != "" {
			app, err = app.At(w.host(1))
			require.NoError(t, err)
		}
		client := provider.NewClient(provider.ClientConfig{Transport: w.server.Transport()})
		out, err = measure.Run(t.Context(), measure.Config{App: app, Client: client, Longest: 100 * 24 * time.Hour, Consents: 6,
			Alive: func(_ context.Context, token perennial.Secret) (bool, error) {
				return w.server.Accepts(token.Reveal()), nil
			},
			Consent: func(ctx context.Context) (perennial.TokenSet, error) {
				return consentTo(w, client, app, redirect)
			}})
		require.NoError(t, err)
	})
	return out, play
}

// consentTo gives one consent, as a browser would.
func consentTo(w *world, client *provider.Client, app provider.App, redirect string) (perennial.TokenSet, error) {
	verifier := perennial.NewSecret("a verifier of a sufficient length, as RFC 7636 asks for")
	link, err := app.AuthorizationURL(redirect, "state", verifier, []string{"read"})
	if err != nil {
		return perennial.TokenSet{}, err
	}
	back := w.agrees(link, url.Values{"account": {w.account(1)}})
	reply := client.Exchange(w.ctx, app, app.Secrets()[0], provider.AuthorizationCode{Code: perennial.NewSecret(back.Get("code")), Verifier: verifier, RedirectURI: redirect})
	if reply.Outcome != perennial.OutcomeRefreshed {
		return perennial.TokenSet{}, errors.New(string(reply.Outcome) + " " + reply.Code)
	}
	return reply.Tokens, nil
}

// refreshed has the providers whose consents bring a refresh token.
func refreshed() []string {
	return slices.DeleteFunc(consents(), func(name string) bool {
		e, _ := provider.Lookup(name)
		return e.Renewal != ""
	})
}

// TestMeasured: what is measured of a played provider is what its sources say.
func TestMeasured(t *testing.T) {
	t.Parallel()
	for _, name := range refreshed() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := lookup(name)
			require.NoError(t, err)
			out, play := measured(t, k, k.entry, nil)
			e, knobs := play.Entry, play.Knobs()
			want := map[string]string{
				"rotation":                   string(e.Rotation),
				"replay_class":               string(e.ReplayClass),
				"grace_window":               spanOf(e.GraceWindow),
				"refresh_within":             cmp.Or(spanOf(e.RefreshWithin), "none"),
				"refresh_kills_access_token": strconv.FormatBool(e.RefreshKillsAccessToken),
				"default_lifetime":           spanOf(time.Duration(knobs.LifetimeSeconds * float64(time.Second))),
				"checks_client_first":        "true", // the fake provider always does
				"spellings.revoked":          "understood",
				"spellings.misconfigured":    "understood",
				measure.KeyWrongClientSpends: "false",
				measure.KeyAfterWindow:       "",
			}
			if e.ReplayClass == perennial.ReplayGrace {
				want[measure.KeyAfterWindow] = string(perennial.ReplayReuseRevokes) // so it is played, see Play.Knobs
			}
			if e.Rotation == "" || e.Rotation == provider.RotationUnknown { // played as the class suggests
				want["rotation"] = string(provider.RotationAlways)
			}
			if alike(e) {
				want["replay_class"], want["grace_window"] = string(shown(knobs)), ""
			}
			got := map[string]string{}
			for key := range want {
				got[key] = out.Value(key)
			}
			assert.Equal(t, want, got, "%+v", out.Findings)
			assert.Empty(t, out.Description.Spellings)
			if alike(e) {
				return
			}
			for _, c := range out.Against(k.entry) {
				assert.Contains(t, notSaid, c.Key, "%+v", c)
			}
		})
	}
}

// notSaid are the lines that a measurement may add to an entry whose sources do not say
// them: the fake provider checks the client first and ends a grant by the next one.
var notSaid = []string{"checks_client_first", "rotation", "default_lifetime", "grants_per_user", "revocation"}

// alike reports whether no experiment tells the replay class that the sources say: they
// say none, and the fake provider plays the careful one; or no refresh brings another
// refresh token, so that there is no old one to present, and it shows as reusable.
func alike(e provider.Entry) bool {
	return e.ReplayClass == perennial.ReplayUnknown || e.Rotation == provider.RotationNever && e.ReplayClass != perennial.ReplayReusable
}

// TestNotTold: where the sources say a class, an experiment tells it.
func TestNotTold(t *testing.T) {
	t.Parallel()
	var names []string
	for _, name := range consents() {
		if e, _ := provider.Lookup(name); alike(e) && e.ReplayClass != perennial.ReplayUnknown {
			names = append(names, name)
		}
	}
	assert.Empty(t, names)
}

func spanOf(d time.Duration) string {
	return string(provider.Describe(provider.Entry{DefaultLifetime: d}).DefaultLifetime)
}

// shown returns the replay class of a server with these knobs, as far as it shows.
func shown(k fakeprovider.Knobs) perennial.ReplayClass {
	switch {
	case !k.Rotate, k.KeepOld:
		return perennial.ReplayReusable
	case k.GraceSeconds > 0:
		return perennial.ReplayGrace
	case k.ReuseRevokes:
		return perennial.ReplayReuseRevokes
	}
	return perennial.ReplaySingleUse
}

// TestMeasuredOtherwise: a provider that behaves in another way than its sources say is
// measured as it behaves, and the comparison with its entry says so.
func TestMeasuredOtherwise(t *testing.T) {
	t.Parallel()
	minutes := func(k known) known {
		k.entry.LifetimeUnit = time.Minute
		return k
	}
	for what, c := range map[string]struct {
		of      string
		change  func(*fakeprovider.Knobs)
		plays   func(known) known
		key     string
		value   string
		differs string // a line of the comparison; "": the description has no line for it
	}{
		"reuse costs the grant": {"box", func(k *fakeprovider.Knobs) { k.ReuseRevokes = true }, nil, "replay_class", "reuse_revokes", "replay_class"},
		"reuse costs nothing":   {"salesforce", func(k *fakeprovider.Knobs) { k.ReuseRevokes = false }, nil, "replay_class", "single_use", "replay_class"},
		"the old token works":   {"box", func(k *fakeprovider.Knobs) { k.KeepOld = true }, nil, "replay_class", "reusable", "replay_class"},
		"a grace":               {"box", func(k *fakeprovider.Knobs) { k.GraceSeconds = 20 }, nil, "grace_window", "20s", "grace_window"},
		"a shorter window":      {"xero", func(k *fakeprovider.Knobs) { k.GraceSeconds = 600 }, nil, "grace_window", "10m", "grace_window"},
		"an odd window":         {"xero", func(k *fakeprovider.Knobs) { k.GraceSeconds = 700 }, nil, "grace_window", "10m", "grace_window"},
		"a longer window":       {"smartcar", func(k *fakeprovider.Knobs) { k.GraceSeconds = 3600 }, nil, "grace_window", "1h", "grace_window"},
		"a window of an instant": {"box", func(k *fakeprovider.Knobs) { k.GraceSeconds, k.ReuseRevokes = 0.5, true }, nil,
			"replay_class", "reuse_revokes", "replay_class"},
		"after the window nothing is lost": {"xero", func(k *fakeprovider.Knobs) { k.ReuseRevokes = false }, nil, measure.KeyAfterWindow, "single_use", ""},
		"no rotation":                      {"xero", func(k *fakeprovider.Knobs) { k.Rotate = false }, nil, "rotation", "never", "rotation"},
		"some rotation":                    {"xero", func(k *fakeprovider.Knobs) { k.RotateEvery = 3 }, nil, "rotation", "sometimes", "rotation"},
		"another lifetime":                 {"xero", func(k *fakeprovider.Knobs) { k.LifetimeSeconds = 7200 }, nil, "default_lifetime", "2h", "default_lifetime"},
		"another unit":                     {"xero", nil, minutes, "lifetime_unit", "1m", "lifetime_unit"},
		"and the lifetime in it":           {"box", nil, minutes, "default_lifetime", "1h", "lifetime_unit"},
		"a refresh ends the token":         {"xero", func(k *fakeprovider.Knobs) { k.KillsAccess = true }, nil, "refresh_kills_access_token", "true", "refresh_kills_access_token"},
		"a refresh must wait":              {"xero", func(k *fakeprovider.Knobs) { k.EarlySeconds = 120 }, nil, "refresh_within", "2m", "refresh_within"},
		"the token is checked first":       {"xero", func(k *fakeprovider.Knobs) { k.GrantFirst = true }, nil, "checks_client_first", "false", "checks_client_first"},
		"a wrong client spends":            {"xero", func(k *fakeprovider.Knobs) { k.ClientSpends = true }, nil, measure.KeyWrongClientSpends, "true", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k, err := lookup(c.of)
			require.NoError(t, err)
			e := k.entry
			if c.key == "checks_client_first" {
				e.ChecksClientFirst = true
			}
			if c.plays != nil {
				k = c.plays(k)
			}
			out, _ := measured(t, k, e, c.change)
			assert.Equal(t, c.value, out.Value(c.key), "%+v", out.Findings)
			if c.differs == "" {
				return
			}
			var keys []string
			for _, change := range out.Against(e) {
				keys = append(keys, change.Key)
			}
			assert.Contains(t, keys, c.differs)
		})
	}
}
