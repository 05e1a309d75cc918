package catalogue

import (
	"cmp"
	"context"
	"errors"
	"net/url"
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
			Alive: func(_ context.Context, token perennial.Secret) (bool, error) { return w.server.Accepts(token.Reveal()), nil },
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

// TestMeasured: what is measured of a played provider is what its sources say.
func TestMeasured(t *testing.T) {
	t.Parallel()
	for _, name := range consents() {
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
			if reason := alike(e); reason != "" {
				want["replay_class"], want["grace_window"] = string(shown(knobs)), ""
				t.Log(reason)
			}
			got := map[string]string{}
			for key := range want {
				got[key] = out.Value(key)
			}
			assert.Equal(t, want, got, "%+v", out.Findings)
			assert.Empty(t, out.Description.Spellings)
		})
	}
}

// alike says why the replay class of some providers cannot be told by experiment, "" if it
// can.
func alike(e provider.Entry) string {
	switch {
	case e.ReplayClass == perennial.ReplayUnknown:
		return "no source says the class: the fake provider plays the careful one, and that is what is measured"
	case e.Rotation == provider.RotationNever && e.ReplayClass != perennial.ReplayReusable:
		return "no refresh brings another refresh token, so there is no old one to present: it shows as reusable"
	}
	return ""
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
