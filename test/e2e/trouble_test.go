package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
)

// circuit returns the circuit of the app's only host.
func (s *stack) circuit() store.Circuit {
	s.Helper()
	state, err := s.deps.Store.AppIncidents(s.Context(), "app")
	require.NoError(s, err)
	if len(state.Circuits) == 0 {
		return store.Circuit{}
	}
	return state.Circuits[0]
}

// TestPromisedProbe: the client of an app with one connection is rejected, and mended. The
// connection backs off for a minute at least, and the probe comes when it was promised,
// within seconds.
func TestPromisedProbe(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse, probe: "12s"})
	c := s.connect("alone", fakeprovider.Knobs{Lifetimes: []float64{6}, Rotate: true})
	require.NoError(t, s.provider.SetSecrets(clientID, "another"))
	s.work()
	// A probe has failed after the token's end: from now on it backs off for minutes.
	var promised time.Time
	s.eventually("it backs off for long", func() bool {
		circuit := s.circuit()
		promised = circuit.NextProbeAt
		return circuit.Probes > 0 && s.get(c.ID).NextAttemptAt.After(promised.Add(30*time.Second))
	})
	id := workflows.AppID(s.deps.Config.TaskQueue, "app")
	s.eventually("its workflow says why", func() bool {
		said := s.details(id)
		return strings.Contains(said, "circuit open since") && strings.Contains(said, "misconfigured (invalid_client)") &&
			strings.Contains(said, "of tenant tenant") && strings.Contains(said, "next probe at ")
	})
	require.NoError(t, s.provider.SetSecrets(clientID, clientSecret))
	mended := s.until(c.ID, "it is refreshed", generation(2))
	require.WithinDuration(t, promised, mended.LastRefreshedAt, 5*time.Second)
	s.eventually("its circuit closes", func() bool { return !s.circuit().Open })
	s.eventually("its workflow tells the end", func() bool {
		said := s.details(id)
		return strings.Contains(said, "well since") && strings.Contains(said, "over: ") && strings.Contains(said, "circuit open since")
	})
}
