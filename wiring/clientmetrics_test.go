package wiring_test

import (
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestClientMetrics: product code can count what its clients do.
func TestClientMetrics(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	wiring.ClientMetrics(r).Refused(client.Refused{App: "app"})
	families, err := r.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	for _, f := range families {
		require.True(t, strings.HasPrefix(f.GetName(), "perennial_client_"), f.GetName())
	}
}
