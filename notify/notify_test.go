package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type apps struct{}

func (apps) App(string) (provider.App, error) {
	return provider.App{Name: "app", Provider: provider.Entry{Name: "acme", Title: "Acme Books"}}, nil
}

// bundle is a service over a real store, with a receiver that keeps its messages.
type bundle struct {
	*Service
	connections *store.Store
	logs        *bytes.Buffer
	url         string

	mu     sync.Mutex
	status int    // the receiver's reply
	after  string // its Retry-After
	got    []received
	tries  []Try
}

func (b *bundle) Try(t Try) { b.tries = append(b.tries, t) }

type received struct {
	header http.Header
	body   []byte
}

func setup(t *testing.T) *bundle {
	t.Helper()
	d := dbtest.New(t, dbtest.SQLiteURL(t))
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	b := &bundle{connections: store.New(d.DB), logs: &bytes.Buffer{}, status: http.StatusOK}
	b.Service = New(Config{Store: NewStore(d.DB), Sealer: keys, Apps: apps{}, Addresses: Addresses{AllowPrivate: true}, Tries: 3, Observer: b,
		Log: slog.New(slog.NewJSONHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	b.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.got = append(b.got, received{r.Header, body})
		w.Header().Set("Retry-After", b.after)
		w.WriteHeader(b.status)
	})
	return b
}

func (b *bundle) reply(status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = status
}

func (b *bundle) add(t *testing.T, types ...perennial.EventType) (perennial.WebhookEndpoint, perennial.Secret) {
	t.Helper()
	w, secret, err := b.Add(t.Context(), perennial.CommandLineAccess(), b.url, types)
	require.NoError(t, err)
	b.waitUntilAfter(t, w)
	return w, secret
}

// waitUntilAfter waits until an event is later than the endpoint by the database's clock.
func (b *bundle) waitUntilAfter(t *testing.T, w perennial.WebhookEndpoint) {
	t.Helper()
	require.Eventually(t, func() bool { // SQLite keeps milliseconds
		now, err := b.Now(t.Context())
		return err == nil && now.After(w.CreatedAt.Add(time.Millisecond))
	}, time.Minute, time.Millisecond)
}

// connected creates a connection, and so an event.
func (b *bundle) connected(t *testing.T, account string) perennial.Connection {
	t.Helper()
	c, err := b.connections.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: "con_" + account, TenantID: "t1", App: "app", Provider: "acme", Host: "h", AccountID: account},
		store.TokenWrite{Generation: 1, SealedTokens: store.SealedTokens{
			AccessTokenSealed:  []byte("PLANTED-access"),
			RefreshTokenSealed: []byte("PLANTED-refresh"),
			RefreshTokenDigest: "d",
		},
			ClientIDDigest: "c", Status: perennial.StatusActive})
	require.NoError(t, err)
	return c
}

// dispatch returns the deliveries that were started.
func (b *bundle) dispatch(t *testing.T) (out []perennial.Delivery) {
	t.Helper()
	n, err := b.Dispatch(t.Context(), func(_ context.Context, event, endpoint string) error {
		out = append(out, perennial.Delivery{EventID: event, EndpointID: endpoint})
		return nil
	})
	require.NoError(t, err)
	require.Len(t, out, n)
	return out
}

func (b *bundle) deliver(t *testing.T, d perennial.Delivery) DeliveryResult {
	t.Helper()
	tried, err := b.Deliver(t.Context(), d.EventID, d.EndpointID)
	require.NoError(t, err)
	return tried
}

// verify checks the last message with a secret, as a receiver does.
func (b *bundle) verify(t *testing.T, secret perennial.Secret) error {
	t.Helper()
	last := b.got[len(b.got)-1]
	v, err := standardwebhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	return v.Verify(last.body, last.header)
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, secret := b.add(t)
	c := b.connected(t, "a1")
	ds := b.dispatch(t)
	require.Len(t, ds, 1)
	require.Empty(t, b.dispatch(t), "started once")
	require.Equal(t, perennial.DeliveryDelivered, b.deliver(t, ds[0]).State)
	require.Equal(t, perennial.DeliveryDelivered, b.deliver(t, ds[0]).State, "its answer was lost: nothing is sent again")
	require.Len(t, b.got, 1)
	require.NoError(t, b.verify(t, secret))
	require.Equal(t, ds[0].EventID, b.got[0].header.Get("webhook-id"))
	require.Equal(t, w.ID, ds[0].EndpointID)

	var got map[string]any
	require.NoError(t, json.Unmarshal(b.got[0].body, &got))
	require.NotEmpty(t, got["timestamp"])
	delete(got, "timestamp")
	require.Equal(t, map[string]any{"type": "connection.connected", "data": map[string]any{"connection_id": c.ID, "tenant_id": "t1", "app": "app",
		"provider": "acme", "account_id": "a1", "status": "active", "health": "healthy", "generation": 1.0,
		"words": map[string]any{"label": "Connected", "detail": ""}}}, got)
	require.NotContains(t, string(b.got[0].body), "PLANTED")
}

func TestFilter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.connected(t, "before")
	b.add(t, perennial.EventRecovered)
	b.connected(t, "a1")
	require.Empty(t, b.dispatch(t))
	w, _ := b.add(t, perennial.EventConnected, perennial.EventRecovered)
	b.connected(t, "a2")
	ds := b.dispatch(t)
	require.Len(t, ds, 1)
	require.Equal(t, w.ID, ds[0].EndpointID)
	_, _, err := b.Add(t.Context(), perennial.CommandLineAccess(), b.url, []perennial.EventType{"connection.gone"})
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.ErrorContains(t, err, "connection.recovered")
}

func TestRotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, first := b.add(t)
	send := func(account string) {
		b.connected(t, account)
		require.Equal(t, perennial.DeliveryDelivered, b.deliver(t, b.dispatch(t)[0]).State)
	}
	second, err := b.Rotate(t.Context(), perennial.WorkerAccess(), w.ID, time.Hour)
	require.NoError(t, err)
	send("a1")
	require.NoError(t, b.verify(t, first), "both are valid")
	require.NoError(t, b.verify(t, second))
	third, err := b.Rotate(t.Context(), perennial.WorkerAccess(), w.ID, 0)
	require.NoError(t, err)
	send("a2")
	require.NoError(t, b.verify(t, third))
	require.Error(t, b.verify(t, first))
	require.Error(t, b.verify(t, second), "it was known to others")

	// A sealed secret that is copied to another endpoint does not open there.
	other, _ := b.add(t)
	read, err := b.Endpoint(t.Context(), perennial.WorkerAccess(), w.ID)
	require.NoError(t, err)
	require.NoError(t, b.RotateSecret(t.Context(), perennial.WorkerAccess(), other.ID, 1, read.SecretSealed, 0))
	read, err = b.Endpoint(t.Context(), perennial.WorkerAccess(), other.ID)
	require.NoError(t, err)
	_, err = b.secrets(read, time.Now())
	require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
}

// TestDeadLetter: the waits between failed tries grow, the last try gives up, and the
// event can be sent again. No secret is logged.
func TestDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, secret := b.add(t)
	b.connected(t, "a1")
	d := b.dispatch(t)[0]
	b.reply(http.StatusInternalServerError)
	for try := 1; try <= 2; try++ {
		tried := b.deliver(t, d)
		require.Equal(t, perennial.DeliveryPending, tried.State)
		require.GreaterOrEqual(t, tried.Next, firstWait<<(try-1))
	}
	require.Equal(t, perennial.DeliveryDead, b.deliver(t, d).State)
	require.Empty(t, b.dispatch(t))
	dead, err := b.Deliveries(t.Context(), perennial.WorkerAccess(), perennial.DeliveryDead, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, []any{3, 500, "the endpoint replied HTTP 500"}, []any{dead[0].Tries, dead[0].LastStatus, dead[0].LastError})

	require.NoError(t, b.Redeliver(t.Context(), perennial.WorkerAccess(), d.EventID, d.EndpointID))
	b.reply(http.StatusOK)
	require.Equal(t, []perennial.Delivery{d}, b.dispatch(t))
	require.Equal(t, perennial.DeliveryDelivered, b.deliver(t, d).State)
	require.Len(t, b.got, 4)
	for _, got := range b.got {
		require.Equal(t, b.got[0].body, got.body, "the same message at every try")
		require.Equal(t, d.EventID, got.header.Get("webhook-id"))
	}
	for _, planted := range []string{secret.Reveal(), secret.Reveal()[6:], "PLANTED", b.url} {
		require.NotContains(t, b.logs.String(), planted)
	}
	require.Contains(t, b.logs.String(), "given up")
}

// TestRetryAfter: the next try waits as long as the receiver asks, but not longer than
// the longest wait.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Tries = 10
	b.add(t)
	b.connected(t, "a1")
	d := b.dispatch(t)
	require.Len(t, d, 1)
	b.reply(http.StatusServiceUnavailable)
	for _, c := range []struct {
		asked         string // in seconds
		least, upmost time.Duration
	}{{"600", 10 * time.Minute, 10 * time.Minute}, {"864000", maxWait, maxWait}, {"1", 4 * firstWait, 5 * firstWait}} {
		b.after = c.asked
		tried := b.deliver(t, d[0])
		require.Equal(t, perennial.DeliveryPending, tried.State)
		require.GreaterOrEqual(t, tried.Next, c.least, c.asked)
		require.LessOrEqual(t, tried.Next, c.upmost, c.asked)
	}
	b.reply(http.StatusOK)
	require.Equal(t, perennial.DeliveryDelivered, b.deliver(t, d[0]).State)
	require.Len(t, b.tries, 4)
	last := b.tries[3]
	require.Equal(t, perennial.DeliveryDelivered, last.State)
	require.Equal(t, perennial.EventConnected, last.Event)
	require.Positive(t, last.Age)
}

func TestGivenUpAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, _ := b.add(t)
	b.connected(t, "a1")
	d := b.dispatch(t)[0]
	b.reply(http.StatusGone)
	require.Equal(t, perennial.DeliveryDead, b.deliver(t, d).State, "410: the receiver wants no more")

	b.connected(t, "a2")
	d = b.dispatch(t)[0]
	require.NoError(t, b.RemoveEndpoint(t.Context(), perennial.WorkerAccess(), w.ID))
	require.Equal(t, perennial.DeliveryDead, b.deliver(t, d).State)
	require.Equal(t, perennial.DeliveryDead, b.deliver(t, perennial.Delivery{EventID: "evt_none", EndpointID: w.ID}).State)
	require.Len(t, b.got, 1)
}

// TestTemporalAway: an event whose delivery could not be started is found again.
func TestTemporalAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.add(t)
	b.connected(t, "a1")
	_, err := b.Dispatch(t.Context(), func(context.Context, string, string) error { return errors.New("no server") })
	require.Error(t, err)
	require.Len(t, b.dispatch(t), 1)
}

func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, secret := b.add(t)
	all, err := b.Endpoints(t.Context(), perennial.WorkerAccess())
	require.NoError(t, err)
	raw, err := json.Marshal(all)
	require.NoError(t, err)
	for _, text := range []string{string(raw), fmt.Sprintf("%+v %#v", all, b.Config), string(all[0].SecretSealed)} {
		require.NotContains(t, text, secret.Reveal()[6:])
	}
	require.NotContains(t, string(raw), "ealed\"", "nor what is sealed")
}

func TestWait(t *testing.T) {
	t.Parallel()
	var all time.Duration
	for tries := 1; tries < defaultTries; tries++ {
		d := wait(tries)
		require.LessOrEqual(t, d, maxWait+maxWait/10)
		all += d
	}
	require.InDelta(t, 3*24, all.Hours(), 8, "three days")
	require.InDelta(t, 5, wait(1).Seconds(), 0.6)
}

// TestRebinding: a name that was public at registration resolves to a private address
// when it is dialed. Nothing reaches that address, and the delivery will be tried
// again.
func TestRebinding(t *testing.T) {
	t.Parallel()
	b := setup(t)
	port := b.url[strings.LastIndex(b.url, ":"):]
	careful := New(Config{Store: b.Store, Sealer: b.Sealer, Apps: apps{}, Addresses: Addresses{Resolver: names{"localhost": "9.9.9.9"}}})
	w, _, err := careful.Add(t.Context(), perennial.CommandLineAccess(), "https://localhost"+port, nil)
	require.NoError(t, err)
	b.waitUntilAfter(t, w)
	b.connected(t, "a1")
	d := b.dispatch(t)
	tried, err := careful.Deliver(t.Context(), d[0].EventID, w.ID)
	require.NoError(t, err)
	require.Equal(t, DeliveryResult{EventID: d[0].EventID, EndpointID: w.ID, State: perennial.DeliveryPending, Error: "the address is not public", Next: tried.Next}, tried)
	require.Empty(t, b.got)
}
