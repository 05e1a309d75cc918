package foreign

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// longest is a wait that sees the end of the short grace periods of these tests.
const longest = 12 * time.Second

// measured measures a server by consents at our own connect pages.
func measured(t *testing.T, w *world) measure.Result {
	t.Helper()
	consents := 0
	out, err := measure.Run(t.Context(), measure.Config{
		App: w.app, Client: provider.NewClient(provider.ClientConfig{}), Longest: longest, Consents: 6,
		Alive: func(_ context.Context, token perennial.Secret) (bool, error) { return w.alive(t, token), nil },
		Consent: func(context.Context) (perennial.TokenSet, error) {
			consents++
			id := w.connect(t, fmt.Sprint("tenant_", consents), "")
			return perennial.TokenSet{AccessToken: w.token(t, id, seal.FieldAccessToken), RefreshToken: w.token(t, id, seal.FieldRefreshToken),
				ExpiresIn: time.Until(w.row(t, id).ExpiresAt).Round(time.Minute)}, nil
		},
	})
	require.NoError(t, err)
	for _, f := range out.Findings {
		t.Logf("%-26s %-14s %s%s", f.Key, f.Value, f.Saw, f.NotMeasured)
	}
	return out
}

const understood = "understood" // the description reads the refusal rightly

// TestMeasured: what is measured of each server, and that its description says so.
// docs/foreign_servers.md has it beside what the servers' documentation says.
func TestMeasured(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, description string
		serve             func(t *testing.T, redirectURI string) *server
		want              findings
	}{
		{"Hydra", "hydra", serveHydra("0s"),
			findings{rotation: "always", class: "reuse_revokes", kills: "true", first: "true", dead: understood, client: understood, spends: "false"}},
		{"Hydra with grace", "hydra-grace", serveHydra("10s"),
			findings{rotation: "always", class: "grace", gives: "another_pair", after: "reuse_revokes", kills: "true", first: "true", dead: understood, client: understood, spends: "false"}},
		{"Doorkeeper", "doorkeeper", serveDoorkeeper(true), // "grace": its end was not seen
			findings{rotation: "always", class: "grace", gives: "another_pair", kills: "true", first: "false", dead: understood, client: understood, spends: "false"}},
		{"Doorkeeper without previous_refresh_token", "doorkeeper-single-use", serveDoorkeeper(false),
			findings{rotation: "always", class: "single_use", kills: "true", first: "false", dead: understood, client: understood, spends: "false"}},
		{"django-oauth-toolkit", "django", serveDjango(0),
			findings{rotation: "always", class: "single_use", kills: "true", first: "true", dead: understood, client: understood, spends: "false"}},
		{"django-oauth-toolkit with grace", "django-grace", serveDjango(10),
			findings{rotation: "always", class: "grace", gives: "same_pair", after: "single_use", kills: "true", first: "true", dead: understood, client: understood, spends: "false"}},
		{"Glewlwyd", "glewlwyd", serveGlewlwyd("never", time.Hour),
			findings{rotation: "never", class: "reusable", kills: "false", first: "false", spends: "false"}},
		{"Glewlwyd with one use", "glewlwyd-one-use", serveGlewlwyd("always", time.Hour),
			findings{rotation: "always", class: "reuse_revokes", kills: "false", first: "false", spends: "true"}},
		{"LemonLDAP::NG", "lemonldap", serveLemonLDAP,
			findings{rotation: "never", class: "reusable", kills: "false", first: "true", dead: understood, client: understood, spends: "false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.description, c.serve)
			out := measured(t, w)
			value := func(key string) (found string) {
				for _, f := range out.Findings {
					if f.Key == key {
						found = cmp.Or(f.Value, found) // one experiment may find what another could not
					}
				}
				return found
			}
			assert.Equal(t, c.want, findings{rotation: value("rotation"), class: value("replay_class"), gives: value(measure.KeyReplayGives), after: value(measure.KeyAfterWindow),
				kills: value("refresh_kills_access_token"), first: value("checks_client_first"), spends: value(measure.KeyWrongClientSpends),
				dead: value("spellings.revoked"), client: value("spellings.misconfigured")})
			for _, change := range out.Against(w.app.Provider) {
				switch change.Key {
				case "revocation", "grace_window", "default_lifetime": // a text; the test's own; may be a second less
				case "replay_class":
					assert.Equal(t, "doorkeeper", c.description)
				default:
					t.Errorf("testdata/%s.yaml says something else than what was measured: %+v", c.description, change)
				}
			}
		})
	}
}

// findings are those of one server; "" is not measured.
type findings struct {
	rotation, class, gives, after, kills, first, dead, client, spends string
}
