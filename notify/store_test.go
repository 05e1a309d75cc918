package notify_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// TestStore is the contract of the store, which every kind of database must pass.
func TestStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rows){
		"endpoints, rotation, removal": testEndpoints, "who is to hear of an event": testPlan, "tries, dead letter, redelivery": testDeliver,
		"the last delivery settles the event": testSettle, "one tenant's deliveries, by pages": testDeliveriesOf,
		"what needs a person": testBacklog,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *dbtest.Database) { test(t, &rows{d, notify.NewStore(d.DB)}) })
		})
	}
}

type rows struct {
	*dbtest.Database
	*notify.Store
}

// Now is the store's: both have one.
func (b *rows) Now(ctx context.Context) (time.Time, error) { return b.Store.Now(ctx) }

// change writes the event of a new connection.
func (b *rows) change(t *testing.T) {
	t.Helper()
	require.NoError(t, b.Durably(t.Context(), "write an event", func(tx *gorm.DB) error {
		now, err := b.Clock(tx)
		if err != nil {
			return err
		}
		return outbox.Append(tx, perennial.Event{Type: perennial.EventConnected, App: "hubspot", TenantID: "acme", ConnectionID: uuid.NewString()}, now)
	}))
}

func (b *rows) endpoint(t *testing.T, id, tenant string, types ...perennial.EventType) perennial.WebhookEndpoint {
	t.Helper()
	w, err := b.AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: id, TenantID: tenant, URL: "https://example.com/" + id, Types: types, SecretSealed: []byte("sealed 1")})
	require.NoError(t, err)
	b.Until(t, w.CreatedAt.Add(2*time.Millisecond)) // SQLite keeps milliseconds
	return w
}

func (b *rows) plan(t *testing.T) {
	t.Helper()
	_, err := b.PlanDeliveries(t.Context(), 100)
	require.NoError(t, err)
}

// to returns the deliveries by endpoint.
func (b *rows) to(t *testing.T) map[string]perennial.Delivery {
	t.Helper()
	all, err := b.Deliveries(t.Context(), perennial.WorkerAccess(), "", 100)
	require.NoError(t, err)
	out := map[string]perennial.Delivery{}
	for _, d := range all {
		out[d.EndpointID] = d
	}
	return out
}

// settled reports whether an event has nothing left to deliver.
func (b *rows) settled(t *testing.T, event string) bool {
	t.Helper()
	return b.Number(t, "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL AND id = '"+event+"'") == 1
}

func (b *rows) event(t *testing.T) perennial.Event {
	t.Helper()
	events, err := outbox.Last(b.With(t.Context()), "", 1)
	require.NoError(t, err)
	require.Len(t, events, 1)
	return events[0]
}

func testEndpoints(t *testing.T, b *rows) {
	w := b.endpoint(t, "whe_1", "t1", perennial.EventRecovered, perennial.EventFailing)
	read, err := b.Endpoint(t.Context(), perennial.WorkerAccess(), w.ID)
	require.NoError(t, err)
	require.Equal(t, w, read)
	require.Equal(t, []perennial.EventType{perennial.EventRecovered, perennial.EventFailing}, read.Types)
	b.endpoint(t, "whe_2", "")
	for access, want := range map[*perennial.Access]int{new(perennial.WorkerAccess()): 2, new(accesstest.Of(t, "t1")): 1, new(accesstest.Of(t, "t2")): 0, {}: 0,
		new(accesstest.Of(t, "t1").OnApps("hubspot")): 0} {
		all, err := b.Endpoints(t.Context(), *access)
		require.NoError(t, err)
		require.Len(t, all, want)
	}

	require.NoError(t, b.RotateSecret(t.Context(), perennial.WorkerAccess(), w.ID, 1, []byte("sealed 2"), time.Hour))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.RotateSecret(t.Context(), perennial.WorkerAccess(), w.ID, 1, []byte("sealed 3"), time.Hour)), "somebody else was quicker")
	read, err = b.Endpoint(t.Context(), perennial.WorkerAccess(), w.ID)
	require.NoError(t, err)
	require.Equal(t, []any{"sealed 2", int64(2), "sealed 1"}, []any{string(read.SecretSealed), read.SecretVersion, string(read.OldSecretSealed)})
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(time.Hour), read.OldSecretUntil, time.Minute)

	require.NoError(t, b.RemoveEndpoint(t.Context(), perennial.WorkerAccess(), w.ID))
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.RemoveEndpoint(t.Context(), perennial.WorkerAccess(), w.ID)))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.RotateSecret(t.Context(), perennial.WorkerAccess(), w.ID, 2, []byte("sealed 3"), 0)))
	read, err = b.Endpoint(t.Context(), perennial.WorkerAccess(), w.ID)
	require.NoError(t, err)
	require.Empty(t, read.SecretSealed, "wiped")
	require.Empty(t, read.OldSecretSealed)
	require.False(t, read.DisabledAt.IsZero())
	_, err = b.Endpoint(t.Context(), perennial.WorkerAccess(), "whe_none")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
}

// testPlan: each event goes once to each endpoint that wants it. An event that no
// endpoint wants counts as delivered.
func testPlan(t *testing.T, b *rows) {
	b.change(t)
	early := b.event(t)
	b.plan(t)
	require.True(t, b.settled(t, early.ID), "nobody wants it")

	tenant := early.TenantID
	b.endpoint(t, "all", "")
	b.endpoint(t, "tenant", tenant)
	b.endpoint(t, "another tenant", tenant+"x")
	b.endpoint(t, "its type", tenant, perennial.EventConnected)
	b.endpoint(t, "another type", tenant, perennial.EventRecovered)
	b.endpoint(t, "removed", tenant)
	require.NoError(t, b.RemoveEndpoint(t.Context(), perennial.WorkerAccess(), "removed"))
	b.change(t)
	e := b.event(t)
	require.NotEqual(t, early.ID, e.ID)
	require.Eventually(t, func() bool { // SQLite's clock counts milliseconds
		now, err := b.Now(t.Context())
		return err == nil && now.After(e.CreatedAt)
	}, time.Minute, time.Millisecond)
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
func testDeliver(t *testing.T, b *rows) {
	ctx := t.Context()
	b.endpoint(t, "a", "")
	b.endpoint(t, "b", "")
	b.change(t)
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

	failed := notify.DeliveryResult{EventID: e.ID, EndpointID: "a", State: perennial.DeliveryPending, Status: 500, Error: "HTTP 500", Next: time.Hour}
	require.NoError(t, b.RecordDelivery(ctx, failed))
	require.NoError(t, b.DeliveryStarted(ctx, perennial.Delivery{EventID: e.ID, EndpointID: "a"}))
	a := b.to(t)["a"]
	require.Equal(t, []any{1, 500, "HTTP 500"}, []any{a.Tries, a.LastStatus, a.LastError})
	require.WithinDuration(t, p.Now.Add(time.Hour), a.NextTryAt, time.Minute, "a late note of its start takes nothing back")
	b.Exec(t, "UPDATE webhook_deliveries SET next_try_at = '"+p.Now.Add(-time.Hour).Format("2006-01-02 15:04:05.999999-07:00")+"' WHERE endpoint_id = 'a'")
	require.Equal(t, []string{"a"}, due(), "its workflow is gone")

	require.NoError(t, b.RecordDelivery(ctx, notify.DeliveryResult{EventID: e.ID, EndpointID: "a", State: perennial.DeliveryDead, Status: 500, Error: "HTTP 500"}))
	require.False(t, b.settled(t, e.ID), "b has not heard of it")
	require.NoError(t, b.RecordDelivery(ctx, notify.DeliveryResult{EventID: e.ID, EndpointID: "b", State: perennial.DeliveryDelivered, Status: 204}))
	require.True(t, b.settled(t, e.ID))
	require.NoError(t, b.RecordDelivery(ctx, failed))
	got := b.to(t)
	require.Equal(t, perennial.DeliveryDead, got["a"].State, "a late try changes nothing")
	require.Equal(t, []any{perennial.DeliveryDelivered, 1, 204, ""}, []any{got["b"].State, got["b"].Tries, got["b"].LastStatus, got["b"].LastError})
	require.False(t, got["b"].DeliveredAt.IsZero())
	dead, err := b.Deliveries(ctx, perennial.WorkerAccess(), perennial.DeliveryDead, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)

	require.NoError(t, b.Redeliver(ctx, perennial.WorkerAccess(), e.ID, "a"))
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.Redeliver(ctx, perennial.WorkerAccess(), e.ID, "a")), "on its way")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.Redeliver(ctx, perennial.WorkerAccess(), "evt_none", "a")))
	require.Equal(t, []string{"a"}, due())
	require.Zero(t, b.to(t)["a"].Tries, "counted anew")
	require.NoError(t, b.RemoveEndpoint(ctx, perennial.WorkerAccess(), "a"))
	require.Equal(t, []any{perennial.DeliveryDead, "the endpoint was removed"}, []any{b.to(t)["a"].State, b.to(t)["a"].LastError})
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(b.Redeliver(ctx, perennial.WorkerAccess(), e.ID, "a")))
}

// testSettle: if all deliveries of one event end at once, the last one settles it.
func testSettle(t *testing.T, b *rows) {
	const endpoints = 8
	for n := range endpoints {
		b.endpoint(t, fmt.Sprint(n), "")
	}
	b.change(t)
	e := b.event(t)
	b.plan(t)
	var all sync.WaitGroup
	for n := range endpoints {
		all.Go(func() {
			assert.NoError(t, b.RecordDelivery(t.Context(), notify.DeliveryResult{EventID: e.ID, EndpointID: fmt.Sprint(n), State: perennial.DeliveryDelivered, Status: 200}))
		})
	}
	all.Wait()
	require.True(t, b.settled(t, e.ID))
	b.Until(t, e.CreatedAt.Add(time.Second))
	n, err := b.Prune(t.Context(), time.Nanosecond, 100)
	require.NoError(t, err)
	require.EqualValues(t, endpoints, n, "past their retention")
	n, err = outbox.Prune(b.With(t.Context()), e.CreatedAt.Add(time.Second), 100)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func testDeliveriesOf(t *testing.T, b *rows) {
	b.endpoint(t, "own", "acme")
	b.endpoint(t, "all", "")
	b.endpoint(t, "other", "other")
	for range 5 {
		b.change(t)
	}
	b.plan(t)
	b.Exec(t, "UPDATE webhook_deliveries SET created_at = '2020-01-02 03:04:05+00:00'")
	var paged []perennial.Delivery
	f := notify.DeliveryFilter{Limit: 2}
	for {
		page, err := b.DeliveriesOf(t.Context(), accesstest.Of(t, "acme"), f)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		f.After = page[len(page)-1]
	}
	require.Len(t, paged, 5)
	seen := map[string]bool{}
	for _, d := range paged {
		require.Equal(t, "own", d.EndpointID, "nobody else's, and not the operator's")
		seen[d.EventID] = true
	}
	require.Len(t, seen, 5)
	acme, other := accesstest.Of(t, "acme"), accesstest.Of(t, "other")
	for name, asked := range map[string]struct {
		access perennial.Access
		f      notify.DeliveryFilter
	}{
		"another tenant's endpoint": {other, notify.DeliveryFilter{EndpointID: "own"}},
		"the operator's endpoint":   {acme, notify.DeliveryFilter{EndpointID: "all"}},
		"none of them is dead":      {acme, notify.DeliveryFilter{State: perennial.DeliveryDead}},
		"some apps alone":           {acme.OnApps("hubspot"), notify.DeliveryFilter{}},
		"nothing":                   {perennial.Access{}, notify.DeliveryFilter{}},
	} {
		got, err := b.DeliveriesOf(t.Context(), asked.access, asked.f)
		require.NoError(t, err)
		require.Empty(t, got, name)
	}
}

// testBacklog: a dead delivery, two late ones and an event that nobody looked at.
func testBacklog(t *testing.T, b *rows) {
	for _, id := range []string{"dead", "late", "later"} {
		b.endpoint(t, id, "")
	}
	b.change(t)
	b.plan(t)
	b.change(t)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	now = now.Truncate(time.Microsecond)
	at := func(ago time.Duration) string {
		return "UPDATE webhook_deliveries SET next_try_at = '" + now.Add(-ago).Format("2006-01-02 15:04:05.999999-07:00") + "' WHERE endpoint_id = "
	}
	b.Exec(t, at(time.Minute)+"'later'")
	b.Exec(t, at(time.Hour)+"'late'")
	b.Exec(t, "UPDATE webhook_deliveries SET state = 'dead' WHERE endpoint_id = 'dead'")
	got, err := b.Backlog(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, notify.Backlog{Dead: 1, Endpoints: []string{"dead"}, Late: 2, LateSince: now.Add(-time.Hour), Unplanned: 1}, got)
}
