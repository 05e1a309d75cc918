package api_test

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestToken: which token is handed out, and when it is refreshed first.
func TestToken(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	refused := errors.New("the provider is away")
	for name, c := range map[string]struct {
		expired bool // of the stored token
		query   string
		answer  error // what the workflow returns
		renewed bool
		code    perennial.Code // of the problem; empty: a token
	}{
		"half an hour":                   {},
		"more than is left":              {query: "min_ttl=86400"}, // at most a tenth of the life
		"expired":                        {expired: true, renewed: true},
		"expired, and nothing is wanted": {expired: true, query: "refresh=false", code: perennial.CodeUnavailable},
		"expired, and none is to be had": {expired: true, answer: refused, code: perennial.CodeUnavailable},
		"an older one was refused":       {query: "if_generation=1"},
		"this one was refused just now":  {query: "if_generation=2", code: "still_unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			w.Answer(c.answer)
			con := w.Connect("acme")
			w.Renew(con.ID, 30*time.Minute) // generation 2
			if c.expired {
				w.Exec("UPDATE connections SET expires_at = now() - interval '1 second' WHERE id = '" + con.ID + "'")
			}
			before := w.Refreshes()
			answer := w.Do(key, "GET", "/v1/connections/"+con.ID+"/token?"+c.query, "")
			assert.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
			if c.code != "" {
				p := problemIn(t, answer)
				assert.Equal(t, c.code, p.Code)
				assert.NotEmpty(t, answer.Header().Get("Retry-After"))
				require.NotNil(t, p.State)
				assert.EqualValues(t, 2, p.State.Generation)
				return
			}
			token := read[wire.Token](t, answer)
			want := int64(2)
			if c.renewed {
				want = 3
				assert.Equal(t, before+1, w.Refreshes())
			}
			assert.Equal(t, fmt.Sprint(clienttest.Secret, "-", want), token.AccessToken)
			assert.Equal(t, want, token.State.Generation)
			assert.InDelta(t, 1800, token.ExpiresIn, 5)
			assert.Equal(t, con.AccountID, token.State.Account)
		})
	}
	w.Answer(nil)
	con := w.Connect("acme")
	w.API.Close() // waits for the notes
	assert.Zero(t, w.Row(con.ID).LastUsedAt)
	w.Do(key, "GET", "/v1/connections/"+con.ID+"/token?refresh=false&if_generation=9", "")
	w.API.Close()
	assert.Zero(t, w.Row(con.ID).LastUsedAt)
	assert.Zero(t, w.Row(con.ID).LastUnauthorizedAt)
	w.Do(key, "GET", "/v1/connections/"+con.ID+"/token", "")
	w.Do(key, "GET", "/v1/connections/"+con.ID+"/token?if_generation=1", "")
	w.API.Close()
	assert.NotZero(t, w.Row(con.ID).LastUsedAt)
	assert.NotZero(t, w.Row(con.ID).LastUnauthorizedAt)
	clean(t, w.Logs.String())
}

// TestTokenTypeIsBearer: a header made from an answer is a Bearer header, even if the
// row has the provider's own token type.
func TestTokenTypeIsBearer(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	con := w.Connect("acme")
	for _, stored := range []string{"bot", "user", "bearer", ""} {
		w.Exec("UPDATE connections SET token_type = '" + stored + "' WHERE id = '" + con.ID + "'")
		token := read[wire.Token](t, w.Do(key, "GET", "/v1/connections/"+con.ID+"/token", ""))
		assert.Equal(t, "Bearer", token.TokenType, stored)
		assert.Equal(t, "Bearer", token.State.TokenType, stored)
		shown := read[api.Connection](t, w.Do(key, "GET", "/v1/connections/"+con.ID, ""))
		assert.Equal(t, "Bearer", shown.TokenType, stored)
	}
}

// TestGenerationAhead: the API refuses a generation above the row's, names the row's,
// and refreshes nothing, whatever the other parameters.
func TestGenerationAhead(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	for range 2 {
		w.Renew(con.ID, 30*time.Minute)
	}
	w.Exec("UPDATE connections SET last_refreshed_at = now() - interval '5 minutes'")
	for _, n := range []int64{4, 10_004, 1 << 53, 1 << 62, math.MaxInt64} {
		at := "/v1/connections/" + con.ID
		for _, answer := range []*httptest.ResponseRecorder{
			w.Do(key, "GET", fmt.Sprintf("%s/token?if_generation=%d", at, n), ""),
			w.Do(key, "GET", fmt.Sprintf("%s/token?refresh=false&if_generation=%d", at, n), ""),
			w.Do(key, "POST", at+"/refresh", fmt.Sprintf(`{"if_generation": %d}`, n)),
		} {
			p := problemIn(t, answer)
			assert.Equal(t, http.StatusConflict, answer.Code)
			assert.Equal(t, perennial.CodeGenerationAhead, p.Code)
			assert.Contains(t, p.Detail, "at generation 3")
			require.NotNil(t, p.State)
			assert.EqualValues(t, 3, p.State.Generation)
		}
	}
	for _, n := range []int64{0, -1, math.MinInt64} {
		assert.Equal(t, http.StatusUnprocessableEntity, w.Do(key, "GET", fmt.Sprintf("/v1/connections/%s/token?if_generation=%d", con.ID, n), "").Code, n)
	}
	assert.Zero(t, w.Refreshes())
	w.API.Close()
	assert.Zero(t, w.Row(con.ID).LastUnauthorizedAt, "it was no token of this row's that was refused")
}

// TestTokenOfAnOldGeneration: after a 401, a token that is not new is refreshed.
func TestTokenOfAnOldGeneration(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	w.Exec("UPDATE connections SET last_refreshed_at = now() - interval '5 minutes'")
	token := read[wire.Token](t, w.Do(key, "GET", "/v1/connections/"+con.ID+"/token?if_generation=1", ""))
	assert.EqualValues(t, 2, token.State.Generation)
	assert.Equal(t, 1, w.Refreshes())
}

// TestTokenOfAnEndedGrant: the last token of an ended grant is handed out until it
// expires. Then the problem says what the customer can do.
func TestTokenOfAnEndedGrant(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	w.SetStatus(con.ID, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	left := read[wire.Token](t, w.Do(key, "GET", "/v1/connections/"+con.ID+"/token", ""))
	assert.Equal(t, clienttest.Secret+"-1", left.AccessToken)
	assert.Equal(t, perennial.StatusReconnectRequired, left.State.Status)
	w.Exec("UPDATE connections SET expires_at = now() - interval '1 second'")
	answer := w.Do(key, "GET", "/v1/connections/"+con.ID+"/token", "")
	p := problemIn(t, answer)
	assert.Equal(t, 409, answer.Code)
	assert.Equal(t, perennial.CodeReconnectRequired, p.Code)
	assert.Contains(t, p.Detail, "access was removed in HubSpot")
	assert.Equal(t, "https://app.example/"+con.ID, p.State.ReconnectURL)
	assert.NotZero(t, p.State.Since)
	assert.Zero(t, w.Refreshes())
}

// TestRefresh: the answer has no token.
func TestRefresh(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	at := "/v1/connections/" + con.ID + "/refresh"
	for _, body := range []string{`{"if_generation": 1}`, `{"if_generation": 1}`, ""} {
		answer := w.Do(key, "POST", at, body)
		clean(t, answer.Body.String())
		assert.EqualValues(t, 2, read[wire.TokenState](t, answer).Generation)
	}
	w.SetStatus(con.ID, perennial.StatusPaused, "")
	assert.Equal(t, perennial.CodePaused, problemIn(t, w.Do(key, "POST", at, "")).Code)
	w.SetStatus(con.ID, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	w.Answer(perennial.Errorf(perennial.CodeReconnectRequired, "not refreshed"))
	p := problemIn(t, w.Do(key, "POST", at, ""))
	assert.Equal(t, perennial.CodeReconnectRequired, p.Code)
	assert.Equal(t, perennial.StatusReconnectRequired, p.State.Status)
}

// TestForced: a loop of requests is answered 200 with the token's state, and when callers
// may have it refreshed again. The first report of a 401 gets a newer token. A report in
// the loop hears that another token would not help.
func TestForced(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	_, other := w.Key("other", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	at := "/v1/connections/" + con.ID
	set := func(columns string) { w.Exec("UPDATE connections SET " + columns + " WHERE id = '" + con.ID + "'") }

	set("last_refreshed_at = now() - interval '2 minutes'")
	first := read[wire.Token](t, w.Do(key, "GET", at+"/token?if_generation=1", ""))
	assert.EqualValues(t, 2, first.State.Generation, "the first report")
	set("last_refreshed_at = now() - interval '100 seconds', forced_at = now() - interval '100 seconds', forced_count = 5") // for 160 s
	before := w.Refreshes()
	for _, body := range []string{"", `{"if_generation": 2}`} {
		answer := w.Do(key, "POST", at+"/refresh", body)
		assert.Equal(t, 200, answer.Code)
		state := read[wire.TokenState](t, answer)
		assert.EqualValues(t, 2, state.Generation)
		assert.InDelta(t, 60, state.RetryAt.Sub(state.Now).Seconds(), 10)
		assert.Equal(t, w.Row(con.ID).ForcedAt, state.ForcedAt)
	}
	assert.EqualValues(t, 2, read[wire.Token](t, w.Do(key, "GET", at+"/token?min_ttl=86400", "")).State.Generation, "the token is handed out")
	refused := w.Do(key, "GET", at+"/token?if_generation=2", "")
	p := problemIn(t, refused)
	assert.EqualValues(t, "still_unauthorized", p.Code)
	assert.Regexp(t, `stored 1m4\ds ago because a caller asked`, p.Detail)
	wait, err := strconv.Atoi(refused.Header().Get("Retry-After"))
	require.NoError(t, err)
	assert.InDelta(t, 60, wait, 10)
	assert.NotZero(t, p.State.ForcedAt)
	assert.Equal(t, before, w.Refreshes())
	assert.Equal(t, perennial.CodeNotFound, problemIn(t, w.Do(other, "POST", at+"/refresh", "")).Code, "another tenant's key")

	set("forced_at = now() - interval '161 seconds'")
	assert.EqualValues(t, 3, read[wire.Token](t, w.Do(key, "GET", at+"/token?if_generation=2", "")).State.Generation)
	set("forced_at = now(), forced_count = 5")
	w.SetStatus(con.ID, perennial.StatusPaused, "")
	p = problemIn(t, w.Do(key, "POST", at+"/refresh", ""))
	assert.Equal(t, perennial.CodePaused, p.Code)
	assert.Zero(t, p.State.ForcedAt)
}

// TestDatabaseAway: the answer is 503 with a time to try again, not 500.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	con := w.Connect("acme")
	require.Equal(t, 200, w.Do(key, "GET", "/v1/connections/"+con.ID, "").Code) // the key is known
	all := operations(t, w)
	w.API.Close()
	require.NoError(t, w.DB.Close())
	for _, o := range all {
		if o.id == "createWebhook" || o.id == "getApp" || o.id == "getVersion" {
			continue
		}
		answer := w.Do(key, o.method, o.at(con.ID), o.valid())
		p := problemIn(t, answer)
		assert.Equal(t, perennial.CodeUnavailable, p.Code, "%s: %s", o.id, p.Detail)
		assert.Equal(t, 503, answer.Code)
		assert.NotEmpty(t, answer.Header().Get("Retry-After"))
	}
	assert.Contains(t, w.Logs.String(), `"level":"ERROR"`)
	clean(t, w.Logs.String())
}
