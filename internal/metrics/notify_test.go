package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestNotify(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	m := NewNotify(r)
	m.Try(notify.Try{Event: perennial.EventConnected, State: perennial.DeliveryPending, Age: time.Hour})
	m.Try(notify.Try{Event: perennial.EventConnected, State: perennial.DeliveryDelivered, Age: 4 * time.Second})
	m.Try(notify.Try{State: perennial.DeliveryDead})
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(`
# HELP perennial_webhook_tries_total Tries to deliver an event, by what the delivery is after it: delivered, pending (it comes again), dead (given up).
# TYPE perennial_webhook_tries_total counter
perennial_webhook_tries_total{event="",state="dead"} 1
perennial_webhook_tries_total{event="connection.connected",state="delivered"} 1
perennial_webhook_tries_total{event="connection.connected",state="pending"} 1
`), "perennial_webhook_tries_total"))
	count, err := testutil.GatherAndCount(r, "perennial_webhook_age_seconds")
	require.NoError(t, err)
	require.Equal(t, 1, count, "only what was delivered has an age")
}
