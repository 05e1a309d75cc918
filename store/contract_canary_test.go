package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

func (b *bundle) circuit(t *testing.T, app string) store.Circuit {
	t.Helper()
	return b.state(t, app).Circuits[0]
}

// call calls the canaries whose probe is due within an interval.
func (b *bundle) call(t *testing.T, app string) []perennial.Connection {
	t.Helper()
	cs, err := b.CallCanaries(t.Context(), store.CanaryRequest{App: app, Class: single, Ahead: 2 * interval})
	require.NoError(t, err)
	return cs
}

func (b *bundle) probeAt(t *testing.T, app string, at time.Time) {
	t.Helper()
	b.Exec(t, "UPDATE circuits SET next_probe_at = "+stampText(at)+" WHERE app = '"+app+"'")
}

// testPromisedProbe: in an app with one connection, or two, each waits for a backoff that
// is longer than the time to the next probe. One of them is called, and is the canary at
// the promised time.
func testPromisedProbe(t *testing.T, b *bundle) {
	for n := 1; n <= 2; n++ {
		cs := b.app(t, n)
		app := cs[0].App
		for _, c := range cs {
			c = b.failed(t, c, true, true)
			c.FailureCount = 0
			b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
		}
		require.True(t, b.open(t, app))
		promised := b.circuit(t, app).NextProbeAt
		due, err := b.ProbesDue(t.Context(), 2*interval)
		require.NoError(t, err)
		require.Contains(t, due, app)
		none, err := b.CallCanaries(t.Context(), store.CanaryRequest{App: app, Class: single, Ahead: time.Second})
		require.NoError(t, err)
		require.Empty(t, none, "it is early")
		called := b.call(t, app)
		require.Len(t, called, 1)
		require.Equal(t, promised, called[0].NextAttemptAt, "not before the probe")
		if n == 2 {
			require.Equal(t, cs[0].ID, called[0].ID, "not the last one that failed")
		}
		require.Empty(t, b.call(t, app), "one is enough")
		due, err = b.ProbesDue(t.Context(), 2*interval)
		require.NoError(t, err)
		require.NotContains(t, due, app)
		require.Equal(t, called[0].ID, b.circuit(t, app).NextCanary)

		now, err := b.Now(t.Context())
		require.NoError(t, err)
		b.probeAt(t, app, now)
		b.set(t, called[0].ID, "next_attempt_at", stampText(now))
		for _, c := range cs {
			if c.ID != called[0].ID {
				require.False(t, b.admitted(t, b.row(t, c.ID)).Admitted, "the probe is kept for the one that was called")
			}
		}
		require.True(t, b.admitted(t, b.row(t, called[0].ID)).Probe)
		require.Empty(t, b.circuit(t, app).NextCanary)
		require.False(t, b.circuit(t, app).NextProbeAt.Before(now.Add(interval)))
	}
}

// testCanaryStaysAway: a canary that was called and does not come keeps the probe for
// moments only, and another is called.
func testCanaryStaysAway(t *testing.T, b *bundle) {
	cs := b.app(t, 3)
	app := cs[0].App
	for _, c := range cs[:2] {
		b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
	}
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.probeAt(t, app, now)
	for _, c := range cs {
		b.set(t, c.ID, "next_refresh_at", stampText(now.Add(-time.Minute)))
	}
	first := b.call(t, app)
	require.Len(t, first, 1)
	called := func(ago time.Duration) {
		b.Exec(t, "UPDATE circuits SET called_at = "+stampText(now.Add(-ago))+" WHERE app = '"+app+"'")
	}
	other := cs[0]
	if other.ID == first[0].ID {
		other = cs[2]
	}
	require.False(t, b.admitted(t, b.row(t, other.ID)).Admitted)
	called(11 * time.Second)
	second := b.call(t, app)
	require.Len(t, second, 1)
	require.NotEqual(t, first[0].ID, second[0].ID, "another")
	called(6 * time.Second)
	b.set(t, other.ID, "next_attempt_at", "NULL")
	require.True(t, b.admitted(t, b.row(t, other.ID)).Probe, "whoever asks")
}

// testNobodyMayProbe: if nothing but a wait that the provider asked for is left, nobody is
// called; when that is over, the connection asks by itself.
func testNobodyMayProbe(t *testing.T, b *bundle) {
	c := b.app(t, 1)[0]
	b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
	require.True(t, b.open(t, c.App))
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.set(t, c.ID, "next_attempt_at", stampText(now.Add(time.Hour)))
	b.probeAt(t, c.App, now)
	require.Empty(t, b.call(t, c.App))
	none, err := b.CallCanaries(t.Context(), store.CanaryRequest{App: c.App, Class: single, Operator: true})
	require.NoError(t, err)
	require.Empty(t, none)
	require.WithinDuration(t, now.Add(time.Hour), b.row(t, c.ID).NextAttemptAt, time.Second)
	b.set(t, c.ID, "next_attempt_at", stampText(now))
	require.True(t, b.admitted(t, b.row(t, c.ID)).Probe)
}

// testProbeReturned: a canary that was admitted and presented nothing gives its probe
// back, if another may go.
func testProbeReturned(t *testing.T, b *bundle) {
	for n := 1; n <= 2; n++ {
		cs := b.app(t, n)
		app := cs[0].App
		for _, c := range cs {
			b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
			b.set(t, c.ID, "failure_count", "1")
		}
		require.True(t, b.open(t, app))
		now, err := b.Now(t.Context())
		require.NoError(t, err)
		b.probeAt(t, app, now)
		require.True(t, b.admitted(t, b.row(t, cs[0].ID)).Probe)
		before := b.circuit(t, app)
		back := store.ReturnProbeRequest{Connection: cs[0], Class: single, Interval: interval}
		require.NoError(t, b.ReturnProbe(t.Context(), back))
		after := b.circuit(t, app)
		if n == 1 {
			require.Equal(t, before, after, "nobody else may go: the next probe comes when it was promised")
			continue
		}
		require.Equal(t, before.Probes-1, after.Probes)
		require.WithinDuration(t, now.Add(interval/10), after.NextProbeAt, 10*time.Second)
		back.Connection = cs[1]
		require.NoError(t, b.ReturnProbe(t.Context(), back))
		require.Equal(t, after, b.circuit(t, app), "it is not the one that had it")
	}
}

// testCanaryOfMany: in a large app the choice reads few rows and finds those that the
// outage has hit.
func testCanaryOfMany(t *testing.T, b *bundle) {
	cs := b.app(t, 300)
	app := cs[0].App
	for _, c := range cs[200:205] {
		c = b.failed(t, c, true, true)
		b.set(t, c.ID, "ambiguous_since", "created_at")
		b.set(t, c.ID, "ambiguous_digest", "refresh_token_digest")
		c.FailureCount = 0
		b.note(t, c, perennial.OutcomeUnknown, "timeout")
	}
	require.True(t, b.open(t, app))
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.probeAt(t, app, now)
	called := b.call(t, app)
	require.Len(t, called, 1)
	require.True(t, called[0].Ambiguous(), "it has nothing to lose: %s", fmt.Sprint(called[0].ID))
}
