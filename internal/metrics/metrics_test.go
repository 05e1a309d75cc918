package metrics

import (
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// TestReported: attempts that a product's report caused are counted by its reason, the
// others are not.
func TestReported(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	m := New(r)
	for _, o := range []refresh.Observation{
		{App: "app", Trigger: perennial.TriggerRevoked, Presented: true, Result: refresh.Result{Outcome: perennial.OutcomeRevoked}},
		{App: "app", Trigger: perennial.TriggerTokenRefused, Presented: true, Result: refresh.Result{Outcome: perennial.OutcomeRefreshed}},
		{App: "app", Trigger: perennial.TriggerTokenRefused, Presented: true, Result: refresh.Result{Outcome: perennial.OutcomeRefreshed}},
		{App: "app", Trigger: perennial.TriggerTokenRefused, Result: refresh.Result{Outcome: perennial.OutcomeThrottled}},
		{App: "app", Trigger: perennial.TriggerTimer, Presented: true, Result: refresh.Result{Outcome: perennial.OutcomeRefreshed}},
	} {
		m.Observe(o)
	}
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(`
# HELP perennial_reported_refusals_total Presentations of refresh tokens because a product reported that the provider refuses the connection's token, by its reason and by what they came to.
# TYPE perennial_reported_refusals_total counter
perennial_reported_refusals_total{app="app",outcome="refreshed",why="token_refused"} 2
perennial_reported_refusals_total{app="app",outcome="revoked",why="revoked_at_provider"} 1
`), "perennial_reported_refusals_total"))
}
