package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

func (b *bundle) endpoint(t *testing.T, id, tenant string, types ...perennial.EventType) perennial.WebhookEndpoint {
	t.Helper()
	w, err := b.AddEndpoint(t.Context(), perennial.WebhookEndpoint{ID: id, TenantID: tenant, URL: "https://example.com/" + id, Types: types, SecretSealed: []byte("sealed 1")})
	require.NoError(t, err)
	b.until(t, w.CreatedAt.Add(2*time.Millisecond)) // SQLite keeps milliseconds
	return w
}

func (b *bundle) plan(t *testing.T) {
	t.Helper()
	_, err := b.PlanDeliveries(t.Context(), 100)
	require.NoError(t, err)
}

// to returns the deliveries by endpoint.
func (b *bundle) to(t *testing.T) map[string]perennial.Delivery {
	t.Helper()
	all, err := b.Deliveries(t.Context(), "", 100)
	require.NoError(t, err)
	out := map[string]perennial.Delivery{}
	for _, d := range all {
		out[d.EndpointID] = d
	}
	return out
}

// settled reports whether an event has nothing left to deliver.
func (b *bundle) settled(t *testing.T, event string) bool {
	t.Helper()
	return b.count(t, "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL AND id = '"+event+"'") == 1
}

func (b *bundle) event(t *testing.T) perennial.Event {
	t.Helper()
	events, err := b.Events(t.Context(), "", 1)
	require.NoError(t, err)
	require.Len(t, events, 1)
	return events[0]
}

func testEndpoints(t *testing.T, b *bundle) {
	w := b.endpoint(t, "whe_1", "t1", perennial.EventRecovered, perennial.EventFailing)
	read, err := b.Endpoint(t.Context(), w.ID)
	require.NoError(t, err)
	require.Equal(t, w, read)
	require.Equal(t, []perennial.EventType{perennial.EventRecovered, perennial.EventFailing}, read.Types)
	b.endpoint(t, "whe_2", "")
	for tenant, want := range map[string]int{"": 2, "t1": 1, "t2": 0} {
		all, err := b.Endpoints(t.Context(), tenant)
		require.NoError(t, err)
		require.Len(t, all, want, tenant)
	}

	require.NoError(t, b.RotateSecret(t.Context(), w.ID, 1, []byte("sealed 2"), time.Hour))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.RotateSecret(t.Context(), w.ID, 1, []byte("sealed 3"), time.Hour)), "somebody else was quicker")
	read, err = b.Endpoint(t.Context(), w.ID)
	require.NoError(t, err)
	require.Equal(t, []any{"sealed 2", int64(2), "sealed 1"}, []any{string(read.SecretSealed), read.SecretVersion, string(read.OldSecretSealed)})
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(time.Hour), read.OldSecretUntil, time.Minute)

	require.NoError(t, b.RemoveEndpoint(t.Context(), w.ID))
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.RemoveEndpoint(t.Context(), w.ID)))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.RotateSecret(t.Context(), w.ID, 2, []byte("sealed 3"), 0)))
	read, err = b.Endpoint(t.Context(), w.ID)
	require.NoError(t, err)
	require.Empty(t, read.SecretSealed, "wiped")
	require.Empty(t, read.OldSecretSealed)
	require.False(t, read.DisabledAt.IsZero())
	_, err = b.Endpoint(t.Context(), "whe_none")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
}

// testPlan: each event goes once to each endpoint that wants it. An event that no
// endpoint wants counts as delivered.
func testPlan(t *testing.T, b *bundle) {
	b.connect(t)
	early := b.event(t)
	b.plan(t)
	require.True(t, b.settled(t, early.ID), "nobody wants it")

	tenant := b.row(t, early.ConnectionID).TenantID
	b.endpoint(t, "all", "")
	b.endpoint(t, "tenant", tenant)
	b.endpoint(t, "another tenant", tenant+"x")
	b.endpoint(t, "its type", tenant, perennial.EventConnected)
	b.endpoint(t, "another type", tenant, perennial.EventRecovered)
	b.endpoint(t, "removed", tenant)
	require.NoError(t, b.RemoveEndpoint(t.Context(), "removed"))
	b.connect(t)
	e := b.event(t)
	require.NotEqual(t, early.ID, e.ID)
	b.endpoint(t, "too late", "")

	var all sync.WaitGroup
	for range 4 { // as many processes
		all.Go(func() {
			_, err := b.PlanDeliveries(t.Context(), 100)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	got := b.to(t)
	require.Len(t, got, 3)
	for _, to := range []string{"all", "tenant", "its type"} {
		require.Equal(t, e.ID, got[to].EventID, to)
		require.Equal(t, perennial.DeliveryPending, got[to].State)
	}
	require.False(t, b.settled(t, e.ID))
	n, err := b.PlanDeliveries(t.Context(), 100)
	require.NoError(t, err)
	require.Zero(t, n, "planned once")
}

// testDeliver delivers one event to two endpoints, with tries, a dead letter and a
// redelivery.
func testDeliver(t *testing.T, b *bundle) {
	ctx := t.Context()
	b.endpoint(t, "a", "")
	b.endpoint(t, "b", "")
	b.connect(t)
	e := b.event(t)
	b.plan(t)
	due := func() (out []string) {
		ds, err := b.DueDeliveries(ctx, time.Minute, 10)
		require.NoError(t, err)
		for _, d := range ds {
			out = append(out, d.EndpointID)
		}
		return out
	}
	require.ElementsMatch(t, []string{"a", "b"}, due())
	for _, d := range b.to(t) {
		require.NoError(t, b.DeliveryStarted(ctx, d))
	}
	require.Empty(t, due(), "somebody was asked")
	p, err := b.DeliveryPayload(ctx, e.ID, "a")
	require.NoError(t, err)
	require.Equal(t, e, p.Event)
	require.Equal(t, "https://example.com/a", p.Endpoint.URL)

	failed := store.DeliveryResult{EventID: e.ID, EndpointID: "a", State: perennial.DeliveryPending, Status: 500, Error: "HTTP 500", Next: time.Hour}
	require.NoError(t, b.RecordDelivery(ctx, failed))
	require.NoError(t, b.DeliveryStarted(ctx, perennial.Delivery{EventID: e.ID, EndpointID: "a"}))
	a := b.to(t)["a"]
	require.Equal(t, []any{1, 500, "HTTP 500"}, []any{a.Tries, a.LastStatus, a.LastError})
	require.WithinDuration(t, p.Now.Add(time.Hour), a.NextTryAt, time.Minute, "a late note of its start takes nothing back")
	b.exec(t, "UPDATE webhook_deliveries SET next_try_at = "+stampText(p.Now.Add(-time.Hour))+" WHERE endpoint_id = 'a'")
	require.Equal(t, []string{"a"}, due(), "its workflow is gone")

	require.NoError(t, b.RecordDelivery(ctx, store.DeliveryResult{EventID: e.ID, EndpointID: "a", State: perennial.DeliveryDead, Status: 500, Error: "HTTP 500"}))
	require.False(t, b.settled(t, e.ID), "b has not heard of it")
	require.NoError(t, b.RecordDelivery(ctx, store.DeliveryResult{EventID: e.ID, EndpointID: "b", State: perennial.DeliveryDelivered, Status: 204}))
	require.True(t, b.settled(t, e.ID))
	require.NoError(t, b.RecordDelivery(ctx, failed))
	got := b.to(t)
	require.Equal(t, perennial.DeliveryDead, got["a"].State, "a late try changes nothing")
	require.Equal(t, []any{perennial.DeliveryDelivered, 1, 204, ""}, []any{got["b"].State, got["b"].Tries, got["b"].LastStatus, got["b"].LastError})
	require.False(t, got["b"].DeliveredAt.IsZero())
	dead, err := b.Deliveries(ctx, perennial.DeliveryDead, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)

	require.NoError(t, b.Redeliver(ctx, e.ID, "a"))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.Redeliver(ctx, e.ID, "a")), "on its way")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.Redeliver(ctx, "evt_none", "a")))
	require.Equal(t, []string{"a"}, due())
	require.Zero(t, b.to(t)["a"].Tries, "counted anew")
	require.NoError(t, b.RemoveEndpoint(ctx, "a"))
	require.Equal(t, []any{perennial.DeliveryDead, "the endpoint was removed"}, []any{b.to(t)["a"].State, b.to(t)["a"].LastError})
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.Redeliver(ctx, e.ID, "a")))
}

// testSettle: if all deliveries of one event end at once, the last one settles it.
func testSettle(t *testing.T, b *bundle) {
	const endpoints = 8
	for n := range endpoints {
		b.endpoint(t, fmt.Sprint(n), "")
	}
	b.connect(t)
	e := b.event(t)
	b.plan(t)
	var all sync.WaitGroup
	for n := range endpoints {
		all.Go(func() {
			assert.NoError(t, b.RecordDelivery(t.Context(), store.DeliveryResult{EventID: e.ID, EndpointID: fmt.Sprint(n), State: perennial.DeliveryDelivered, Status: 200}))
		})
	}
	all.Wait()
	require.True(t, b.settled(t, e.ID))
	b.until(t, e.CreatedAt.Add(time.Second))
	n, err := b.Prune(t.Context(), time.Nanosecond, 100)
	require.NoError(t, err)
	require.EqualValues(t, 1+endpoints, n, "past their retention")
}
