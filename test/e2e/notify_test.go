package e2e

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/workflows"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// hook is a receiver that fails the first tries of each message.
type hook struct {
	mu       sync.Mutex
	secret   string
	fails    int            // so many tries of each message are answered with status
	status   int            // 0: 500
	tries    map[string]int // by webhook-id
	accepted []notify.Body
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw, err := io.ReadAll(r.Body)
	v, bad := standardwebhooks.NewWebhook(h.secret)
	var body notify.Body
	if err != nil || bad != nil || v.Verify(raw, r.Header) != nil || json.Unmarshal(raw, &body) != nil {
		http.Error(w, "PLANTED-reply", http.StatusUnauthorized)
		return
	}
	id := r.Header.Get("webhook-id")
	h.tries[id]++
	if h.tries[id] <= h.fails {
		http.Error(w, "PLANTED-reply", cmp.Or(h.status, http.StatusInternalServerError))
		return
	}
	h.accepted = append(h.accepted, body)
}

// seen returns the accepted types in their order, and the number of tries.
func (h *hook) seen() (types []perennial.EventType, tried int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.accepted {
		types = append(types, b.Type)
	}
	return types, len(h.tries)
}

// TestNotify: a connection is lost and recovered. The receiver gets each event once, in
// spite of its own failures and a worker that restarts between two tries.
func TestNotify(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{top: "notify: {allow_private: true}"})
	h := &hook{tries: map[string]int{}, fails: 1}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	w, secret, err := s.deps.Notify(nil).Add(t.Context(), accesstest.Of(t, "tenant"), server.URL, []perennial.EventType{perennial.EventReconnectRequired, perennial.EventRecovered})
	require.NoError(t, err)
	h.secret = secret.Reveal()

	stop := s.work()
	knobs := fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true}
	c := s.connect("a1", knobs)
	require.NoError(t, s.provider.Revoke(clientID, "a1"))
	lost := s.until(c.ID, "the revocation confirmed", status(perennial.StatusReconnectRequired))
	s.eventually("a first try, that fails", func() bool { _, tried := h.seen(); return tried == 1 })
	stop()
	s.work()
	s.eventually("the reconnect_required is delivered", func() bool { types, _ := h.seen(); return len(types) == 1 })
	_, err = s.service.Reconnect(t.Context(), perennial.WorkerAccess(), c.ID, s.consent("a1", knobs))
	require.NoError(t, err)
	s.eventually("the recovery is delivered, and recorded", func() bool {
		all, err := notify.NewStore(s.deps.DB).Deliveries(t.Context(), perennial.WorkerAccess(), perennial.DeliveryDelivered, 10)
		require.NoError(t, err)
		return len(all) == 2
	})

	types, tried := h.seen()
	assert.Equal(t, []perennial.EventType{perennial.EventReconnectRequired, perennial.EventRecovered}, types, "each once")
	assert.Equal(t, 2, tried)
	first := h.accepted[0].Data
	assert.Equal(t, []any{c.ID, "tenant", perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant, lost.Generation, "Reconnect needed: access was removed in Acme"},
		[]any{first.ConnectionID, first.TenantID, first.Status, first.Reason, first.Generation, first.Words.String()})
	logs := string(s.logs.Bytes())
	assert.NotContains(t, logs, "PLANTED-reply")
	assert.NotContains(t, logs, h.secret)
	assert.NotEmpty(t, w.ID)

	// A delivered one can be sent again. The worker finds it without a signal.
	all, err := notify.NewStore(s.deps.DB).Deliveries(t.Context(), perennial.WorkerAccess(), "", 1)
	require.NoError(t, err)
	require.NoError(t, notify.NewStore(s.deps.DB).Redeliver(t.Context(), perennial.WorkerAccess(), all[0].EventID, w.ID))
	s.eventually("it comes again", func() bool { types, _ := h.seen(); return len(types) == 3 })
}

// TestDeliveries takes one event through everything that can happen to a delivery.
// Later versions must replay its histories.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{top: "notify: {allow_private: true}"})
	at := map[string]string{} // URL of each endpoint
	for name, h := range map[string]*hook{
		"delivered":   {},
		"retried":     {fails: 1},
		"redelivered": {fails: 1, status: http.StatusGone}, // dead at once, then sent again
		"removed":     {fails: 100},
	} {
		h.tries = map[string]int{}
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		w, secret, err := s.deps.Notify(nil).Add(t.Context(), accesstest.Of(t, "tenant"), server.URL, []perennial.EventType{perennial.EventConnected})
		require.NoError(t, err)
		h.secret, at[name] = secret.Reveal(), w.ID
	}
	s.work()
	s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 3600})

	event := ""
	become := func(name string, state perennial.DeliveryState, tries int) {
		t.Helper()
		s.eventually(name+" is "+string(state), func() bool {
			all, err := notify.NewStore(s.deps.DB).Deliveries(t.Context(), perennial.WorkerAccess(), "", 10)
			require.NoError(t, err)
			for _, d := range all {
				event = d.EventID
				if d.EndpointID == at[name] {
					return d.State == state && d.Tries >= tries
				}
			}
			return false
		})
	}
	become("delivered", perennial.DeliveryDelivered, 1)
	become("redelivered", perennial.DeliveryDead, 1)
	become("removed", perennial.DeliveryPending, 1)
	require.NoError(t, notify.NewStore(s.deps.DB).RemoveEndpoint(t.Context(), perennial.WorkerAccess(), at["removed"]))
	become("retried", perennial.DeliveryDelivered, 2)
	become("removed", perennial.DeliveryDead, 1)
	require.NoError(t, notify.NewStore(s.deps.DB).Redeliver(t.Context(), perennial.WorkerAccess(), event, at["redelivered"]))
	become("redelivered", perennial.DeliveryDelivered, 1)

	for name, endpoint := range at {
		id := workflows.DeliveryID(s.deps.Config.TaskQueue, event, endpoint)
		s.eventually("the workflow of "+name+" completes", func() bool { return s.newest(id).Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })
		runs := 1
		if name == "redelivered" {
			runs = 2
		}
		assert.Len(t, s.runs(id), runs, name)
		s.replayRuns(id, "delivery-"+name)
	}
}
