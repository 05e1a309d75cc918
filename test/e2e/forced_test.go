package e2e

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestForcedLoop: a key posts refreshes in a loop, each with the newest generation. In its
// first ten seconds and the ten after them the provider gets two. Every answer is 200 with
// the time of the next one. An operator reads the same, and may ask for one more.
func TestForcedLoop(t *testing.T) {
	t.Parallel()
	for pace, extra := range map[string]string{"own": "", "pooled": ", pace: pooled, pacers: 1, max_refreshes_per_second: 20"} {
		t.Run(pace, func(t *testing.T) {
			t.Parallel()
			s := setup(t, setting{extra: extra, floor: "10s"})
			s.work()
			c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true})
			server := s.serve()
			_, err := s.remote(server).Token(t.Context(), c.ID) // the workflow runs
			require.NoError(t, err)

			began, asked, state := time.Now(), 0, wire.TokenState{Generation: 1}
			for ; time.Since(began) < 16*time.Second; asked++ {
				before := state
				state = s.post(server, c.ID, "tenant", before.Generation, http.StatusOK)
				require.GreaterOrEqual(t, state.Generation, before.Generation)
				if state.RetryAt.IsZero() { // its floor ended after the request was turned away
					require.False(t, state.Now.Before(before.RetryAt), "%+v", state)
					state.RetryAt = before.RetryAt
					continue
				}
				require.True(t, state.RetryAt.After(state.Now), "%+v", state)
				require.False(t, state.ForcedAt.IsZero())
			}
			assert.Greater(t, asked, 50)
			assert.EqualValues(t, 3, state.Generation)
			assert.Equal(t, 2, s.oracle("a1").Refreshes, "%d requests", asked)
			assert.InDelta(t, 20, state.RetryAt.Sub(state.ForcedAt).Seconds(), 0.01)
			s.post(server, c.ID, "stranger", state.Generation, http.StatusNotFound)

			out, exit := s.run("show", c.ID)
			assert.Zero(t, exit)
			assert.Regexp(t, `refreshed for callers +2 in a row before one was due, the last .* \(-\d+s\)`, out)
			out, exit = s.run("refresh", "--if-generation", "3", c.ID)
			assert.Zero(t, exit)
			assert.Regexp(t, regexp.MustCompile(`held: generation 3.*\nIt was refreshed \d+s ago because a caller asked, before one was due; it may be again at .*, in \d+s\.`), out)
			out, exit = s.run("refresh", "--now", c.ID)
			assert.Zero(t, exit)
			assert.Contains(t, out, "refreshed: generation 4")
			assert.Equal(t, 3, s.oracle("a1").Refreshes)
			out, _ = s.run("refresh", "--if-generation", "4", c.ID)
			assert.Contains(t, out, "because a caller asked", "once for each --now")
			assert.Equal(t, 3, s.oracle("a1").Refreshes)
			events := 0
			for _, h := range s.histories(c.ID) {
				events += len(h.Events)
			}
			assert.Less(t, events, 200, "the loop costs the workflow nothing")
			s.replayAll(c.ID, "forced-"+pace)
		})
	}
}

// post asks the server for a token newer than generation, with a key of the tenant.
func (s *stack) post(p *serverProcess, id, tenant string, generation int64, status int) (state wire.TokenState) {
	s.Helper()
	k, key := api.NewKey(tenant, s.Name(), perennial.ScopeTokensRead)
	_, err := api.NewKeyStore(s.deps.DB).Add(s.Context(), perennial.CommandLineAccess(), k)
	require.NoError(s, err)
	body, err := json.Marshal(wire.RefreshBody{IfGeneration: generation})
	require.NoError(s, err)
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, "http://"+p.address+"/v1/connections/"+id+"/refresh", strings.NewReader(string(body)))
	require.NoError(s, err)
	req.Header.Set("Authorization", "Bearer "+key.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s, err)
	defer resp.Body.Close()
	require.Equal(s, status, resp.StatusCode)
	if status == http.StatusOK {
		require.NoError(s, json.NewDecoder(resp.Body).Decode(&state))
	}
	return state
}
