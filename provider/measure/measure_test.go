package measure_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

const secret = "planted-client-secret"

// bench is a fake provider and what is needed to measure it. Call it in a bubble.
type bench struct {
	fake   *fakeprovider.Server
	config measure.Config
	said   []string
}

func newBench(t *testing.T, knobs fakeprovider.Knobs) *bench {
	t.Helper()
	e := provider.Entry{Name: "acme", TokenURL: "https://acme.example/token", RevokeURL: "https://acme.example/revoke", AuthStyle: oauth2.AuthStyleInHeader}
	b := &bench{}
	var err error
	b.fake, err = fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{"client": {Secrets: []string{secret}, Knobs: knobs}}, Play: &fakeprovider.Play{Entry: e}})
	require.NoError(t, err)
	b.config = measure.Config{App: provider.App{Name: "acme", ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret(secret)}, Provider: e},
		Client: provider.NewClient(provider.ClientConfig{Transport: b.fake.Transport()}), Longest: time.Hour,
		Alive: func(_ context.Context, token perennial.Secret) (bool, error) {
			return b.fake.Accepts(token.Reveal()), nil
		},
		Say: func(line string) { b.said = append(b.said, line) },
		Consent: func(context.Context) (perennial.TokenSet, error) {
			out, err := b.fake.Grant("client", "spare", "read")
			return perennial.TokenSet{AccessToken: perennial.NewSecret(out.AccessToken), RefreshToken: perennial.NewSecret(out.RefreshToken), ExpiresIn: 30 * time.Minute}, err
		}}
	return b
}

func (b *bench) run(t *testing.T) measure.Result {
	t.Helper()
	out, err := measure.Run(t.Context(), b.config)
	require.NoError(t, err)
	return out
}

// why returns why a key was not measured.
func why(r measure.Result, key string) string {
	for _, f := range r.Findings {
		if f.Key == key {
			return f.NotMeasured
		}
	}
	return "it is not mentioned"
}

// TestNothingIsLeft: the grants are revoked at the end, also after an interruption; those
// that cannot be are counted.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	rotates := fakeprovider.Knobs{Rotate: true, LifetimeSeconds: 1800}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, rotates)
		assert.Zero(t, b.run(t).Left)
		assert.Empty(t, b.fake.Oracle().Grants[0].LiveRefreshTokens)
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, rotates)
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(10*time.Minute, cancel).Stop() // while it waits for the access token's end
		out, err := measure.Run(ctx, b.config)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, "always", out.Value("rotation"), "what was found is kept")
		assert.Equal(t, "it was interrupted", why(out, "lifetime_unit"))
		assert.Zero(t, out.Left)
		assert.Empty(t, b.fake.Oracle().Grants[0].LiveRefreshTokens)
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, rotates)
		b.config.App.Provider.RevokeURL = ""
		out := b.run(t)
		assert.Equal(t, 1, out.Left)
		assert.Contains(t, why(out, "revocation"), "no revoke_url")
	})
}

// TestNotMeasured: an experiment that cannot be made says why, and gives no line of the
// description.
func TestNotMeasured(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		knobs  fakeprovider.Knobs
		change func(*measure.Config)
		key    string
		why    string
	}{
		"no address": {fakeprovider.Knobs{Rotate: true}, func(c *measure.Config) { c.Alive = nil }, "refresh_kills_access_token", "name an address of the API"},
		"an address that does not know": {fakeprovider.Knobs{Rotate: true}, func(c *measure.Config) {
			c.Alive = func(context.Context, perennial.Secret) (bool, error) { return false, nil }
		}, "refresh_kills_access_token", "an access token that has just come is refused too"},
		"an address that fails": {fakeprovider.Knobs{Rotate: true}, func(c *measure.Config) {
			c.Alive = func(context.Context, perennial.Secret) (bool, error) { return false, errors.New("HTTP status 503") }
		}, "lifetime_unit", "HTTP status 503"},
		"a short wait":                       {fakeprovider.Knobs{Rotate: true}, func(c *measure.Config) { c.Longest = time.Minute }, "lifetime_unit", "said to live for 30m"},
		"no consent left":                    {fakeprovider.Knobs{Rotate: true, ReuseRevokes: true}, func(c *measure.Config) { c.Consents = 1 }, "revocation", "one more consent than the 1"},
		"no refresh token":                   {fakeprovider.Knobs{}, func(c *measure.Config) { c.Consent = withoutRefreshToken(c.Consent) }, "rotation", "the consent brought no refresh token"},
		"a refresh too early for the wait":   {fakeprovider.Knobs{Rotate: true, EarlySeconds: 30}, func(c *measure.Config) { c.Longest = time.Minute }, "refresh_within", "it would take a wait of"},
		"a window longer than the wait":      {fakeprovider.Knobs{Rotate: true, GraceSeconds: 3600}, func(c *measure.Config) { c.Longest = time.Second }, "replay_class", "takes a longer wait"},
		"replies that are lost":              {fakeprovider.Knobs{Rotate: true, DropAfter: 1}, nil, "refresh_within", "a reply was lost or could not be read"},
		"a provider that is down for a time": {fakeprovider.Knobs{Rotate: true, ServerError: 1}, nil, "refresh_within", "a reply was lost or could not be read: HTTP 503"},
		"a limit that outlasts the wait":     {fakeprovider.Knobs{Rotate: true, RateLimited: 1, RetryAfter: "7200"}, nil, "refresh_within", "it would take a wait of 2h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, c.knobs)
				if c.change != nil {
					c.change(&b.config)
				}
				out := b.run(t)
				assert.Empty(t, out.Value(c.key))
				assert.Contains(t, why(out, c.key), c.why)
				assert.NotContains(t, fmt.Sprintf("%+v", out), secret)
			})
		})
	}
}

func withoutRefreshToken(consent func(context.Context) (perennial.TokenSet, error)) func(context.Context) (perennial.TokenSet, error) {
	return func(ctx context.Context) (perennial.TokenSet, error) {
		t, err := consent(ctx)
		t.RefreshToken = perennial.Secret{}
		return t, err
	}
}

// TestGoesOn: a lost reply or a limit costs one experiment or a wait, and no more.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	for name, knobs := range map[string]fakeprovider.Knobs{
		"a lost reply": {Rotate: true, ReuseRevokes: true, DropAfter: 1},
		"a limit":      {Rotate: true, ReuseRevokes: true, RateLimited: 2, RetryAfter: "60"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, knobs)
			tokens := b.config.Consent
			var given []string
			b.config.Consent = func(ctx context.Context) (perennial.TokenSet, error) { // each of an account of its own, so that none replaces another
				given = append(given, fmt.Sprint("spare-", len(given)))
				out, err := b.fake.Grant("client", given[len(given)-1], "read")
				t, _ := tokens(ctx)
				t.AccessToken, t.RefreshToken = perennial.NewSecret(out.AccessToken), perennial.NewSecret(out.RefreshToken)
				return t, err
			}
			out := b.run(t)
			for _, g := range b.fake.Oracle().Grants {
				if g.Account != "spare" {
					assert.True(t, g.Revoked, "%s: a grant in doubt is revoked too", name)
				}
			}
			assert.Equal(t, "always", out.Value("rotation"), name)
			assert.Equal(t, "reuse_revokes", out.Value("replay_class"), name)
		})
	}
}

// TestConsents: no more consents are used than the plan says.
func TestConsents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		knobs fakeprovider.Knobs
		want  int
	}{
		"nothing is spent":      {fakeprovider.Knobs{}, 2}, // the second for the revocation
		"an old token is dead":  {fakeprovider.Knobs{Rotate: true}, 2},
		"reuse costs the grant": {fakeprovider.Knobs{Rotate: true, ReuseRevokes: true}, 3},
		"a grace":               {fakeprovider.Knobs{Rotate: true, ReuseRevokes: true, GraceSeconds: 60}, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			out := newBench(t, c.knobs).run(t)
			assert.Equal(t, c.want, out.Consents, name)
			assert.NotEmpty(t, out.Value("revocation"), name)
		})
	}
}

// TestSliding: a window that each replay makes longer is not taken for a longer one.
func TestSliding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fakeprovider.Knobs{Rotate: true, GraceSeconds: 3600})
		used := map[string]time.Time{} // refresh tokens, and when they were last presented
		b.config.Client = provider.NewClient(provider.ClientConfig{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			raw, _ := io.ReadAll(req.Body)
			req.Body = io.NopCloser(strings.NewReader(string(raw)))
			last, again := used[string(raw)]
			if used[string(raw)] = time.Now(); again && time.Since(last) > 45*time.Second {
				return &http.Response{StatusCode: 400, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(`{"error":"invalid_grant"}`)), ContentLength: 25}, nil
			}
			return b.fake.Transport().RoundTrip(req)
		})})
		out := b.run(t)
		assert.Empty(t, out.Value("grace_window"))
		assert.Contains(t, why(out, "grace_window"), "each presentation may lengthen the window")
		assert.Empty(t, out.Description.ReplayClass)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSpellings: a refusal that the description does not understand gives a spelling with
// which it does.
func TestSpellings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fakeprovider.Knobs{Rotate: true})
		b.config.Client = provider.NewClient(provider.ClientConfig{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			resp, err := b.fake.Transport().RoundTrip(req)
			if err != nil || resp.StatusCode < 400 {
				return resp, err
			}
			body := `{"error":"TokenKaputt"}`
			if resp.StatusCode == http.StatusUnauthorized {
				body = `{"message":"Who are you?"}`
			}
			resp.StatusCode, resp.Body, resp.ContentLength = 400, io.NopCloser(strings.NewReader(body)), int64(len(body))
			return resp, nil
		})})
		out := b.run(t)
		assert.Equal(t, []provider.Spelling{
			{HTTPStatus: 400, Code: "TokenKaputt", Outcome: perennial.OutcomeRevoked},
			{HTTPStatus: 400, Contains: "Who are you?", Outcome: perennial.OutcomeMisconfigured, Fault: perennial.FaultClient},
		}, out.Description.Spellings[:2])
		e := out.Description.Over(b.config.App.Provider, false, func(key, text string) { t.Error(key, text) })
		b.config.App.Provider = e
		again := b.run(t)
		assert.Empty(t, again.Description.Spellings, "they are understood now")
		assert.Equal(t, "understood", again.Value("spellings.revoked"))
		assert.Equal(t, "understood", again.Value("spellings.misconfigured"))
	})
}

// TestDescriptionHolds: the lines that are printed are a description without a problem,
// laid over the entry they agree with what was measured, and have evidence.
func TestDescriptionHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fakeprovider.Knobs{Rotate: true, GraceSeconds: 60, KillsAccess: true, EarlySeconds: 120})
		out := b.run(t)
		e := out.Description.Over(b.config.App.Provider, false, func(key, text string) { t.Error(key, text) })
		assert.Equal(t, perennial.ReplayGrace, e.ReplayClass)
		assert.Equal(t, time.Minute, e.GraceWindow)
		assert.Equal(t, 2*time.Minute, e.RefreshWithin)
		assert.True(t, e.RefreshKillsAccessToken)
		assert.Empty(t, out.Against(e))
		for _, fact := range []string{"rotation", "replay", "lifetime", "refusal", "wrong_client", "revocation"} {
			assert.Equal(t, provider.ByMeasurement, e.Source(fact), fact)
		}
		assert.NotEmpty(t, b.said)
		assert.NotRegexp(t, "f[ar]t_", strings.Join(b.said, "\n")+fmt.Sprintf("%+v", out))
	})
}

// TestPlan: the plan names each experiment, what it costs, and why one cannot be made.
func TestPlan(t *testing.T) {
	t.Parallel()
	steps := measure.Plan(measure.Config{})
	require.NotEmpty(t, steps)
	for _, s := range steps {
		assert.NotEmpty(t, s.Name)
		assert.NotEmpty(t, s.Does)
		assert.NotEmpty(t, s.Costs)
		assert.NotEmpty(t, s.Finds)
	}
	public := measure.Config{App: provider.App{Provider: provider.Entry{AuthStyle: provider.AuthStyleNone}}}
	cannot := map[string]string{}
	for _, s := range measure.Plan(public) {
		cannot[s.Name] = s.Cannot
	}
	assert.Contains(t, cannot["client-first"], "the client has no secret")
	assert.Contains(t, cannot["revocation"], "no revoke_url")
	assert.Contains(t, cannot["old-access-token"], "name an address of the API")
	assert.Empty(t, cannot["replay"])
}

// TestWrongClient: a client that the provider refuses ends the measurement before a consent.
func TestWrongClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fakeprovider.Knobs{})
		b.config.App.ClientSecrets = []perennial.Secret{perennial.NewSecret("planted-wrong-secret")}
		b.config.Consent = func(context.Context) (perennial.TokenSet, error) { panic("a consent was asked for") }
		_, err := measure.Run(t.Context(), b.config)
		assert.ErrorContains(t, err, "check the client id, the secret")
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
		assert.NotContains(t, err.Error(), "planted")
	})
}

// TestDenied: after a refusal no other consent is asked for.
func TestDenied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fakeprovider.Knobs{})
		b.config.Consent = func(context.Context) (perennial.TokenSet, error) {
			return perennial.TokenSet{}, errors.New("cancelled")
		}
		out := b.run(t)
		assert.Equal(t, 1, out.Consents)
		assert.Equal(t, "the consent was not given: cancelled", why(out, "replay_class"))
		assert.Equal(t, "the consent was not given: cancelled", why(out, "revocation"))
		assert.Equal(t, "understood", out.Value("spellings.revoked"))
	})
}

// TestRefused: what cannot be measured at all is refused before a request.
func TestRefused(t *testing.T) {
	t.Parallel()
	good := func() measure.Config {
		return measure.Config{Client: provider.NewClient(provider.ClientConfig{}), Consent: func(context.Context) (perennial.TokenSet, error) { panic("a consent was asked for") }}
	}
	for says, change := range map[string]func(*measure.Config){
		"Client and Consent are needed": func(c *measure.Config) { c.Client = nil },
		"only grants with a refresh":    func(c *measure.Config) { c.App.Provider.Grant = provider.GrantClientCredentials },
		"each account has its own host": func(c *measure.Config) { c.App.Provider.TokenURL = "https://{host}/token" },
		"the longest wait must be":      func(c *measure.Config) { c.Longest = time.Millisecond },
		"the number of consents 1":      func(c *measure.Config) { c.Consents = -1 },
	} {
		c := good()
		change(&c)
		_, err := measure.Run(t.Context(), c)
		assert.ErrorContains(t, err, says)
	}
}
