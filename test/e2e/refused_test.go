package e2e

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReported: products report over HTTP that the provider refuses a token. Each report of
// the newest token is one request to the provider, which alone decides; a thousand lies
// are one request, until the floor ends. The ledger, `show` and Temporal say why.
func TestReported(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{floor: "10m"})
	s.work()
	server := s.serve()
	api := s.remote(server)
	knobs := fakeprovider.Knobs{LifetimeSeconds: 1800, Rotate: true}
	honest, dead, lied := s.connect("honest", knobs), s.connect("dead", knobs), s.connect("lied", knobs)

	token, err := api.Refused(t.Context(), honest.ID, 1, tokens.TokenRefused)
	require.NoError(t, err)
	assert.EqualValues(t, 2, token.Generation)
	newest, err := api.Token(t.Context(), honest.ID)
	require.NoError(t, err)
	assert.Equal(t, token.Access.Reveal(), newest.Access.Reveal())
	attempts, err := s.deps.Store.Attempts(t.Context(), perennial.WorkerAccess(), honest.ID, 10)
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	assert.Equal(t, perennial.TriggerTokenRefused, attempts[0].Trigger)
	out, exit := s.run("show", honest.ID)
	assert.Zero(t, exit)
	assert.Regexp(t, `\s1\s+token_refused\s+refreshed`, out)
	reply, err := s.client.QueryWorkflow(t.Context(), workflows.ID(honest.ID), "", workflows.QueryStatus)
	require.NoError(t, err)
	var state workflows.StatusReply
	require.NoError(t, reply.Get(&state))
	require.NotEmpty(t, state.Recent)
	assert.Equal(t, perennial.TriggerTokenRefused, state.Recent[len(state.Recent)-1].Reported)

	require.NoError(t, s.provider.Revoke(clientID, "dead"))
	_, err = api.Refused(t.Context(), dead.ID, 0, tokens.RevokedAtProvider)
	undecided, ended := errors.AsType[*tokens.ErrUnavailable](err)
	if ended { // its first refusal is to be confirmed
		assert.False(t, undecided.RetryAt.IsZero())
	}
	gone := s.until(dead.ID, "refused twice", status(perennial.StatusReconnectRequired))
	assert.Equal(t, perennial.ReasonInvalidGrant, gone.Reason)
	_, err = api.Refused(t.Context(), dead.ID, 0, tokens.RevokedAtProvider)
	assert.ErrorAs(t, err, new(*tokens.ErrReconnectRequired))
	attempts, err = s.deps.Store.Attempts(t.Context(), perennial.WorkerAccess(), dead.ID, 10)
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	assert.Equal(t, []perennial.Trigger{perennial.TriggerConfirm, perennial.TriggerRevoked}, []perennial.Trigger{attempts[0].Trigger, attempts[1].Trigger})

	var wg sync.WaitGroup
	for range 20 {
		product := s.remote(server) // a process each
		wg.Go(func() {
			for range 50 {
				newest := s.get(lied.ID).Generation
				_, _ = product.Refused(t.Context(), lied.ID, newest, tokens.TokenRefused)
				_, _ = product.Refused(t.Context(), lied.ID, 0, tokens.RevokedAtProvider)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 1, s.oracle("lied").Refreshes)
	assert.Equal(t, perennial.StatusActive, s.get(lied.ID).Status)
	events := 0
	for _, h := range s.histories(lied.ID) {
		events += len(h.Events)
	}
	assert.Less(t, events, 200, "nor do they cost the workflow much")
	for _, c := range []perennial.Connection{honest, dead, lied} {
		s.replayAll(c.ID, "reported-"+c.AccountID)
	}
}

// TestRefusedInOtherWords: the app's API calls a token expired by 403. The configuration's
// word for it reaches a product over HTTP: a read is sent again with a newer token, a
// write gets its answer, and the next one has a newer token.
func TestRefusedInOtherWords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spelling string
		status   int
		body     string
	}{
		"403": {"{http_status: 403, means: token}", 403, ""},
		"400": {"{http_status: 400, code: token_expired, means: token}", 400, `{"error": "token_expired"}`},
		"200": {"{http_status: 200, code: token_expired, means: token}", 200, `{"ok": false, "error": "token_expired"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, setting{extra: ", api_spellings: [" + c.spelling + "]"})
			s.work()
			con := s.connect("a1", fakeprovider.Knobs{Rotate: true})
			product := s.remote(s.serve())
			var mu sync.Mutex
			var expired string // the token that the API takes for expired
			resource := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if r.Header.Get("Authorization") == "Bearer "+expired {
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
					return
				}
				_, _ = io.WriteString(w, `{"ok": true}`)
			}))
			defer resource.Close()
			expire := func() {
				token, err := product.Token(t.Context(), con.ID)
				require.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				expired = token.Access.Reveal()
			}
			send := func(method string) (int, string) {
				req, err := http.NewRequestWithContext(t.Context(), method, resource.URL, strings.NewReader("x"))
				require.NoError(t, err)
				resp, err := product.HTTPClient(con.ID).Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				return resp.StatusCode, string(body)
			}
			expire()
			status, body := send(http.MethodGet)
			assert.Equal(t, http.StatusOK, status)
			assert.JSONEq(t, `{"ok": true}`, body)
			assert.EqualValues(t, 2, s.get(con.ID).Generation)
			assert.NotZero(t, s.get(con.ID).LastUnauthorizedAt)
			for range 3 {
				send(http.MethodGet)
			}
			assert.Equal(t, 1, s.oracle("a1").Refreshes)

			product = s.remote(s.serve()) // another process, for which no minute runs
			expire()
			status, body = send(http.MethodPost)
			assert.Equal(t, c.status, status, "a write is not sent twice")
			assert.Equal(t, c.body, body)
			s.until(con.ID, "renewed for the next request", generation(3))
			s.eventually("the next request has the newer token", func() bool { _, body := send(http.MethodPost); return body == `{"ok": true}` })
			assert.Equal(t, 2, s.oracle("a1").Refreshes)
		})
	}
}
