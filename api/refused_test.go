package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReportRefused: a report of the newest token has it replaced; a repeated one, and one
// of an older token, asks nobody. No answer holds a token.
func TestReportRefused(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	_, other := w.Key("other", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	at := "/v1/connections/" + con.ID + "/refused"
	for range 20 {
		answer := w.Do(key, "POST", at, `{"generation": 1, "why": "token_refused"}`)
		require.Equal(t, http.StatusOK, answer.Code)
		clean(t, answer.Body.String())
		out := read[wire.RefusedAnswer](t, answer)
		assert.Equal(t, wire.RefusedNewer, out.Result)
		assert.EqualValues(t, 2, out.State.Generation)
	}
	assert.Equal(t, 1, w.Refreshes())
	assert.NotZero(t, w.Row(con.ID).LastUnauthorizedAt)

	assert.EqualValues(t, 3, read[wire.RefusedAnswer](t, w.Do(key, "POST", at, `{"why": "revoked_at_provider"}`)).State.Generation, "of the newest")
	p := problemIn(t, w.Do(key, "POST", at, `{"generation": 4, "why": "revoked_at_provider"}`))
	assert.Equal(t, perennial.CodeGenerationAhead, p.Code)
	assert.EqualValues(t, 3, p.State.Generation)
	assert.Equal(t, perennial.CodeNotFound, problemIn(t, w.Do(other, "POST", at, `{"why": "revoked_at_provider"}`)).Code)
	assert.Equal(t, 2, w.Refreshes())
	assert.Equal(t, []perennial.RefusalCause{perennial.RefusalTokenRefused, perennial.RefusalRevoked}, w.Reported())
}

// TestReportRefusedWrongly: a request that is not as documented gets 422, with the
// member's name and without its value.
func TestReportRefusedWrongly(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	at := "/v1/connections/" + w.Connect("acme").ID + "/refused"
	for _, body := range []string{``, `{}`, `{"generation": 1}`, `{"generation": 1, "why": "planted-value"}`, `{"generation": 1, "why": ""}`, `{"generation": 1, "why": "Token_Refused"}`,
		`{"why": "token_refused"}`, `{"generation": 0, "why": "token_refused"}`, `{"generation": -1, "why": "revoked_at_provider"}`, `{"generation": 1.5, "why": "token_refused"}`,
		`{"generation": 1, "why": "token_refused", "reason": "x"}`, `{"generation": 1, "why": ["token_refused"]}`} {
		answer := w.Do(key, "POST", at, body)
		assert.Contains(t, []int{400, 422}, answer.Code, body)
		assert.Equal(t, perennial.CodeInvalid, problemIn(t, answer).Code, body)
		assert.NotContains(t, answer.Body.String(), "planted", body)
	}
	assert.Contains(t, problemIn(t, w.Do(key, "POST", at, `{"why": "token_refused"}`)).Detail, "generation is needed with token_refused")
	assert.Zero(t, w.Refreshes())
}

// TestReportRefusedUndecided: while the row waits, for a confirmation, the provider or the
// floor of forced refreshes, the answer says until when, and nobody is asked.
func TestReportRefusedUndecided(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	for name, columns := range map[string]string{
		"confirmed in a minute":   "confirm_at = now() + interval '1 minute', suspect_since = now(), suspect_digest = refresh_token_digest",
		"the provider wants rest": "next_attempt_at = now() + interval '1 minute'",
		"a backoff":               "next_attempt_at = now() + interval '1 minute', backoff_until = now() + interval '1 minute', failure_count = 1",
		"refreshed for callers":   "forced_at = now(), forced_count = 4",
	} {
		w.Exec("UPDATE connections SET confirm_at = NULL, suspect_since = NULL, next_attempt_at = NULL, backoff_until = NULL, failure_count = 0, forced_at = NULL, forced_count = 0")
		w.Exec("UPDATE connections SET " + columns)
		for _, why := range perennial.RefusalCauses {
			answer := w.Do(key, "POST", "/v1/connections/"+con.ID+"/refused", fmt.Sprintf(`{"generation": 1, "why": %q}`, why))
			require.Equal(t, http.StatusOK, answer.Code, name)
			out := read[wire.RefusedAnswer](t, answer)
			assert.Equal(t, wire.RefusedPending, out.Result, name)
			assert.InDelta(t, 65, out.State.RetryAt.Sub(out.State.Now).Seconds(), 20, name)
			assert.Equal(t, name == "refreshed for callers", !out.State.ForcedAt.IsZero(), name)
		}
	}
	assert.Zero(t, w.Refreshes())
}

// TestReportRefusedStates: a connection that only a person can help says so at once.
func TestReportRefusedStates(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	for _, c := range []struct {
		status perennial.Status
		reason perennial.Reason
		code   perennial.Code
	}{
		{perennial.StatusReconnectRequired, perennial.ReasonOperator, perennial.CodeReconnectRequired},
		{perennial.StatusActive, "", ""},
		{perennial.StatusPaused, "", perennial.CodePaused},
		{perennial.StatusDisconnected, "", perennial.CodeDisconnected},
	} {
		w.SetStatus(con.ID, c.status, c.reason)
		if c.code == "" {
			continue
		}
		for _, body := range []string{`{"why": "revoked_at_provider"}`, `{"generation": 1, "why": "token_refused"}`} {
			answer := w.Do(key, "POST", "/v1/connections/"+con.ID+"/refused", body)
			assert.Equal(t, http.StatusConflict, answer.Code)
			p := problemIn(t, answer)
			assert.Equal(t, c.code, p.Code)
			assert.Equal(t, c.status, p.State.Status)
		}
	}
	assert.Zero(t, w.Refreshes())
}

// TestReportRefusedUnasked: if nobody could be asked, the report was not taken.
func TestReportRefusedUnasked(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	w.Answer(perennial.Errorf(perennial.CodeUnavailable, "Temporal does not answer"))
	answer := w.Do(key, "POST", "/v1/connections/"+con.ID+"/refused", `{"why": "revoked_at_provider"}`)
	assert.Equal(t, http.StatusServiceUnavailable, answer.Code)
	assert.NotEmpty(t, answer.Header().Get("Retry-After"))
	assert.EqualValues(t, 1, problemIn(t, answer).State.Generation)
}
