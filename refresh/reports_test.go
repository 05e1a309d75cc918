package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// The cases of this file come from public reports, and from attacks on the engine. Some
// are not mended yet: they state what the code does today.

// reported is one answer of a token endpoint in a report.
type reported struct {
	status     int
	body       string
	retryAfter string
}

// report is an engine with a token endpoint that gives the answers in turn; the last
// one repeats. Its database has con_1.
type report struct {
	*bundle
	url      string // of the database
	requests atomic.Int32
}

func newReport(t *testing.T, entry string, answers ...reported) *report {
	t.Helper()
	r := &report{url: testpg.URL(t)}
	r.bundle = setupOn(t, r.url)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		a := answers[min(int(r.requests.Add(1)), len(answers))-1]
		if a.retryAfter != "" {
			w.Header().Set("Retry-After", a.retryAfter)
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(server.Close)
	e, ok := provider.Lookup(entry)
	require.True(t, ok)
	e.AuthStyle, e.TokenURL, e.HostSuffixes = max(e.AuthStyle, oauth2.AuthStyleInParams), server.URL, nil
	r.app.Provider = e
	r.Presenter = provider.NewClient(provider.ClientConfig{})
	return r
}

// insert connects an account whose token set has this life.
func (r *report) insert(t *testing.T, id string, life time.Duration) {
	t.Helper()
	c := perennial.Connection{ID: id, TenantID: "t", App: "app", Provider: r.app.Provider.Name, AccountID: id}
	set := fresh("1").Tokens
	set.ExpiresIn = life
	w, err := Tokens(r.keyring, r.app, c, 1, set, set.RefreshToken, time.Now())
	require.NoError(t, err)
	_, err = r.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
	require.NoError(t, err)
}

func (r *report) row(t *testing.T, id string) perennial.Connection {
	t.Helper()
	c, _, err := r.db.Get(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	return c
}

// refreshed refreshes once the connection's waits are over, the confirmation's among
// them.
func (r *report) refreshed(t *testing.T, id string, trigger perennial.Trigger) Result {
	t.Helper()
	require.Eventually(t, func() bool {
		c, now, err := r.db.Get(t.Context(), perennial.WorkerAccess(), id)
		return err == nil && !c.WaitsUntil(now).After(now) && !c.ConfirmAt.After(now)
	}, 10*time.Second, time.Millisecond)
	res, err := r.Engine.Refresh(t.Context(), Request{ConnectionID: id, Generation: r.row(t, id).Generation, Trigger: trigger})
	require.NoError(t, err)
	return res
}

// overWait ends all waits.
func (r *report) overWait(t *testing.T) {
	t.Helper()
	r.exec(t, "UPDATE connections SET next_attempt_at = NULL, queued_at = NULL")
}

// TestReportedRefusals: which replies require a reconnect.
func TestReportedRefusals(t *testing.T) {
	t.Parallel()
	t.Run("Entra: too many requests, twice", func(t *testing.T) {
		t.Parallel()
		r := newReport(t, "microsoft", reported{400, `{"error":"invalid_grant","error_description":"AADSTS50196: The server terminated an operation because it encountered a client request loop."}`, ""})
		for range 3 {
			assert.Equal(t, perennial.OutcomeRateLimited, r.refreshed(t, "con_1", perennial.TriggerTimer).Outcome)
			r.overWait(t)
		}
		assert.Equal(t, perennial.StatusActive, r.row(t, "con_1").Status)
		assert.Equal(t, "too_many_requests", r.row(t, "con_1").FailingCode)
	})
	t.Run("Salesforce: refused while another request was under way", func(t *testing.T) {
		t.Parallel()
		under := reported{400, `{"error":"invalid_grant","error_description":"token request is already being processed"}`, ""}
		r := newReport(t, "salesforce", under, under, under, reported{200, `{"access_token":"access-token-0002","instance_url":"https://x.my.salesforce.com","token_type":"Bearer"}`, ""})
		for range 3 {
			assert.Equal(t, perennial.OutcomeBusy, r.refreshed(t, "con_1", perennial.TriggerTimer).Outcome)
			c := r.row(t, "con_1")
			assert.Equal(t, perennial.StatusActive, c.Status)
			assert.Zero(t, c.FailureCount, "nobody has failed")
			assert.False(t, c.Suspect())
			assert.True(t, c.NextAttemptAt.After(c.UpdatedAt), "it waits")
		}
		res := r.refreshed(t, "con_1", perennial.TriggerTimer)
		assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
		assert.Equal(t, perennial.StatusActive, res.Connection.Status)
	})
}

// TestReportedTimes: expires_in and the like that are instants instead of seconds.
func TestReportedTimes(t *testing.T) {
	t.Parallel()
	t.Run("an instant as Retry-After", func(t *testing.T) {
		t.Parallel()
		r := newReport(t, "generic", reported{429, `{"error":"rate_limited"}`, fmt.Sprint(time.Now().Add(45 * time.Second).Unix())})
		r.insert(t, "con_2", 30*time.Minute)
		r.refreshed(t, "con_2", perennial.TriggerTimer)
		c := r.row(t, "con_2")
		assert.WithinDuration(t, time.Now().Add(45*time.Second), c.NextAttemptAt, 15*time.Second, "no day without a token because of 45 s")
	})
	t.Run("an instant as expires_in", func(t *testing.T) {
		t.Parallel()
		r := newReport(t, "box", reported{200, fmt.Sprintf(`{"access_token":"access-token-0002","refresh_token":"refresh-token-0002","expires_in":%d}`, time.Now().Add(time.Hour).Unix()), ""})
		c := r.refreshed(t, "con_1", perennial.TriggerTimer).Connection
		assert.WithinDuration(t, time.Now().Add(time.Hour), c.ExpiresAt, 10*time.Minute, "the catalogue's hour")
	})
}

// TestReportedNeighbours: which connections a neighbour's trouble stops.
func TestReportedNeighbours(t *testing.T) {
	t.Parallel()
	t.Run("Entra: two customers removed the app", func(t *testing.T) {
		t.Parallel()
		r := newReport(t, "microsoft", reported{400, `{"error":"unauthorized_client","error_description":"AADSTS700016: Application with identifier 'x' was not found in the directory 'Contoso'."}`, ""})
		for i := range 20 {
			r.insert(t, fmt.Sprintf("con_%02d", i+10), time.Hour)
		}
		r.refreshed(t, "con_10", perennial.TriggerTimer)
		r.refreshed(t, "con_11", perennial.TriggerTimer)
		res := r.refreshed(t, "con_12", perennial.TriggerTimer)
		assert.Equal(t, "unauthorized_client", res.Code, "two customers' own actions stop nobody else")
	})
	t.Run("a firewall refuses everybody", func(t *testing.T) {
		t.Parallel()
		r := newReport(t, "generic", reported{403, "<html>blocked</html>", ""})
		for i := range 20 {
			id := fmt.Sprintf("con_%02d", i+10)
			r.insert(t, id, time.Hour)
			r.refreshed(t, id, perennial.TriggerTimer)
		}
		state, err := r.db.AppState(t.Context(), "app")
		require.NoError(t, err)
		open := 0
		for _, c := range state.Circuits {
			if c.Open {
				open++
			}
		}
		assert.Equal(t, 1, open)
	})
}

// TestReportedWaits: how long the wait is after a refusal that is not understood.
func TestReportedWaits(t *testing.T) {
	t.Parallel()
	// Exact refreshes only in the last 30 s of a token. Without a word about that in the
	// description it refuses once in each token's life.
	const life, allowed = 10 * time.Minute, 30 * time.Second
	early, now := provider.Reply{Outcome: perennial.OutcomeTooEarly, HTTPStatus: 400, Code: "access_denied"}, time.Now()
	for _, profile := range []provider.BufferProfile{provider.BufferQueue, provider.BufferRealtime, provider.BufferShare} {
		refusals := 0
		for left := timing.Buffer(profile, life); left > allowed; refusals++ {
			left -= decide(perennial.Connection{ExpiresAt: now.Add(left)}, provider.Entry{}, early, now, time.Minute).Wait
		}
		assert.Equal(t, 1, refusals, profile)
	}
	// After a firewall has blocked us for six hours. After six hours of 503 it is five
	// minutes.
	blocked := provider.Reply{Outcome: perennial.OutcomeRejected, HTTPStatus: 403, Code: "http_403"}
	assert.LessOrEqual(t, timing.MinBackoff(blocked, 15), 10*time.Minute)
}

// TestReplyAfterDisconnect: tokens that arrive after a disconnect are revoked, whether the
// refresh stores them or somebody later. While another connection of the account works,
// they are not: that could end it too.
func TestReplyAfterDisconnect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shared, later bool
		status        int
		want          []string
	}{
		"by the refresh":                   {want: []string{"R2"}},
		"by whoever stores them later":     {later: true, want: []string{"R2"}},
		"another tenant has the account":   {shared: true},
		"the provider refuses to revoke":   {status: 503, want: []string{"R2"}},
		"later, and the account is shared": {later: true, shared: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReport(t, "generic")
			if c.shared {
				_, err := r.db.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: "con_other", TenantID: "other", App: "app", Provider: "generic", AccountID: r.row(t, "con_1").AccountID},
					store.TokenWrite{Generation: 1, Status: perennial.StatusActive})
				require.NoError(t, err)
			}
			disconnect := func() {
				_, err := r.db.SetStatus(t.Context(), perennial.WorkerAccess(), "con_1", perennial.Statuses, 1, perennial.StatusDisconnected, "")
				assert.NoError(t, err)
			}
			var revoked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/revoke" {
					revoked = append(revoked, req.FormValue("token"))
					w.WriteHeader(max(c.status, 200))
					return
				}
				if !c.later {
					disconnect()
				}
				_, _ = io.WriteString(w, `{"access_token":"A2","refresh_token":"R2","expires_in":3600}`)
			}))
			t.Cleanup(server.Close)
			r.app.Provider.TokenURL, r.app.Provider.RevokeURL = server.URL, server.URL+"/revoke"
			r.Engine.Revoker = provider.NewClient(provider.ClientConfig{})
			if c.later {
				r.Engine.Store = failingSaves{r.db}
				r.Engine.Timing.SaveTimeout = time.Nanosecond
			}
			res := r.refreshed(t, "con_1", perennial.TriggerTimer)
			if c.later {
				require.NotNil(t, res.Unsaved)
				r.Engine.Store = r.db
				disconnect()
				_, err := r.Engine.Persist(t.Context(), *res.Unsaved)
				require.NoError(t, err)
			}
			assert.Equal(t, perennial.StatusDisconnected, r.row(t, "con_1").Status)
			assert.Empty(t, r.row(t, "con_1").RefreshTokenSealed)
			assert.Equal(t, c.want, revoked)
		})
	}
}

// failingSaves is a store that saves nothing.
type failingSaves struct{ *store.Store }

func (failingSaves) Save(context.Context, store.SaveRequest) (store.SaveResult, error) {
	return store.SaveResult{}, errors.New("away")
}

// TestLongWait: after an unknown outcome a provider that revokes on reuse must not be
// asked before the access token has ended, here in 60 days. The row waits as long as a row
// may, then the fence extends the wait; nothing is asked meanwhile.
func TestLongWait(t *testing.T) {
	t.Parallel()
	r := newReport(t, "generic", reported{502, "", ""})
	r.app.Provider.ReplayClass = perennial.ReplayReuseRevokes
	r.insert(t, "con_60d", 60*24*time.Hour)
	r.refreshed(t, "con_60d", perennial.TriggerTimer)
	wait := func() time.Duration {
		res, err := r.Engine.Refresh(t.Context(), Request{ConnectionID: "con_60d", Generation: 1, Trigger: perennial.TriggerTimer})
		require.NoError(t, err)
		return res.RetryAt.Sub(res.Now)
	}
	require.Eventually(t, func() bool { return wait() > 24*time.Hour }, 30*time.Second, 10*time.Millisecond, "the backoff of the first try ends, then the fence waits")
	c, now, err := r.db.Get(t.Context(), perennial.WorkerAccess(), "con_60d")
	require.NoError(t, err)
	at, _ := timing.Wake(c, now)
	assert.WithinDuration(t, now.Add(perennial.MaxWait), at, time.Minute, "its workflow waits too")
	(&dbtest.Database{URL: r.url}).Exec(t, "UPDATE connections SET next_attempt_at = clock_timestamp() WHERE id = 'con_60d'") // 30 hours later
	assert.Greater(t, wait(), 24*time.Hour, "it is extended")
	assert.EqualValues(t, 1, r.requests.Load())
	assert.Equal(t, perennial.StatusActive, r.row(t, "con_60d").Status)
}

// TestPausedMachine: a machine that was paused after the claim sends nothing, though its
// monotonic clock stood still meanwhile.
func TestPausedMachine(t *testing.T) {
	t.Parallel()
	r := newReport(t, "generic", reported{200, `{"access_token":"a","refresh_token":"b","expires_in":3600}`, ""})
	paused := false
	r.Engine.wall = func() time.Time {
		if paused {
			return time.Now().Add(10 * time.Minute)
		}
		return time.Now()
	}
	paused = true
	r.refreshed(t, "con_1", perennial.TriggerTimer)
	assert.Zero(t, r.requests.Load())
	paused = false
	r.refreshed(t, "con_1", perennial.TriggerTimer)
	assert.EqualValues(t, 1, r.requests.Load())
	assert.EqualValues(t, 2, r.row(t, "con_1").Generation)
}

// TestReportedWordsOfADeadGrant: a dead grant ends its connection, however the provider says
// it, after the usual confirmation and no sooner.
func TestReportedWordsOfADeadGrant(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		reason perennial.Reason
	}{
		"as invalid_request":   {`{"error":"invalid_request","error_description":"Invalid refresh_token"}`, perennial.ReasonInvalidGrant},
		"as bare text":         {`invalid_grant`, perennial.ReasonInvalidGrant},
		"as text of two words": {`{"error":"invalid grant"}`, perennial.ReasonInvalidGrant},
		"as a sign-in":         {`{"error":"interaction_required"}`, perennial.ReasonSignInRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReport(t, "generic", reported{400, c.body, ""})
			first := r.refreshed(t, "con_1", perennial.TriggerTimer)
			require.Equal(t, perennial.OutcomeRevoked, first.Outcome)
			require.Equal(t, perennial.StatusActive, first.Connection.Status)
			require.True(t, first.Connection.Suspect())
			require.Eventually(t, func() bool {
				return r.refreshed(t, "con_1", perennial.TriggerConfirm).Outcome == perennial.OutcomeRevoked
			}, time.Minute, time.Millisecond)
			row := r.row(t, "con_1")
			require.Equal(t, perennial.StatusReconnectRequired, row.Status)
			require.Equal(t, c.reason, row.Reason)
			require.EqualValues(t, 2, r.requests.Load())
		})
	}
}
