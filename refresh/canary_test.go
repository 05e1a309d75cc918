package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

var rejectedClient = provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", Sent: true, HTTPStatus: 401}

// opened returns a fleet whose circuit is open, with its probe due now.
func opened(t *testing.T, n int) (*bundle, []string) {
	t.Helper()
	b, ids := fleet(t, n, rejectedClient)
	b.Timing.ProbeInterval = time.Minute
	b.ask(t, ids[0])
	b.ask(t, ids[1])
	require.True(t, b.circuit(t).Open)
	b.probeNow(t)
	return b, ids
}

func (b *bundle) circuit(t *testing.T) store.Circuit {
	t.Helper()
	s, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	return s.Circuits[0]
}

func (b *bundle) probeNow(t *testing.T) {
	t.Helper()
	b.exec(t, "UPDATE circuits SET next_probe_at = '2020-01-01 00:00:00.000000+00:00'")
}

// TestTheNextSecretOfACanary: in an app with a limit, the canary of an open circuit
// presents the next client secret too. Without that no rotation of a secret would ever
// close it.
func TestTheNextSecretOfACanary(t *testing.T) {
	t.Parallel()
	b, ids := opened(t, 3)
	b.app.MaxRefreshesPerSecond = 50
	b.Timing.StartToClose = 20 * time.Second // for two secrets
	b.app.ClientSecrets = append(b.app.ClientSecrets, perennial.NewSecret("s2"))
	b.mu.Lock()
	b.answers, b.secrets = []provider.Reply{rejectedClient, fresh("2")}, nil
	b.mu.Unlock()
	res := b.ask(t, ids[2])
	require.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	require.Equal(t, []string{"s1", "s2"}, b.secrets)
	require.True(t, b.circuit(t).Releasing)
}

// TestAProbeIsGivenBack: a canary that presents nothing uses no probe up, and proves
// nothing.
func TestAProbeIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(b *bundle, id string){
		"its token does not open": func(b *bundle, id string) {
			b.exec(t, "UPDATE connections SET refresh_token_sealed = access_token_sealed WHERE id = '"+id+"'")
		},
		"it has no refresh token": func(b *bundle, id string) {
			b.app.Provider.ChecksClientFirst = true
			b.exec(t, "UPDATE connections SET refresh_token_sealed = NULL WHERE id = '"+id+"'")
		},
		"the worker stalls": func(b *bundle, _ string) {
			b.Engine.wall = func() time.Time { return time.Now().Add(time.Hour) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, ids := opened(t, 4)
			breakIt(b, ids[2])
			sent := b.requests()
			b.ask(t, ids[2])
			require.Equal(t, sent, b.requests(), "nothing is sent")
			circuit := b.circuit(t)
			require.True(t, circuit.Open && !circuit.Releasing)
			require.Zero(t, circuit.Probes)
			now, err := b.db.Now(t.Context())
			require.NoError(t, err)
			require.True(t, circuit.NextProbeAt.Before(now.Add(b.Timing.ProbeInterval/2)), "due again soon")

			b.Engine.wall = time.Now
			b.answer(fresh("2"))
			b.probeNow(t)
			require.Equal(t, perennial.OutcomeRefreshed, b.ask(t, ids[3]).Outcome, "another's")
			require.True(t, b.circuit(t).Releasing)
		})
	}
}

// TestACalledCanaryRefreshes: both connections of an app wait for backoffs of a minute
// and more. The one that is called goes at once.
func TestACalledCanaryRefreshes(t *testing.T) {
	t.Parallel()
	b, ids := opened(t, 2)
	for _, id := range ids {
		require.Equal(t, perennial.OutcomeThrottled, b.ask(t, id).Outcome, "it backs off")
	}
	called, err := b.db.CallCanaries(t.Context(), store.CanaryRequest{App: "app", Class: WaitingClass(b.app.Provider)})
	require.NoError(t, err)
	require.Len(t, called, 1)
	b.answer(fresh("2"))
	require.Equal(t, perennial.OutcomeRefreshed, b.ask(t, called[0].ID).Outcome)
	require.True(t, b.circuit(t).Releasing)
}
