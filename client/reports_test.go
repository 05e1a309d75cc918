package client

import (
	"testing"
	"testing/synctest"

	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReportedRefusals: APIs that report an expired token without a 401. The client knows
// Slack's words. An empty 403 means nothing unless the app's api_spellings say so.
func TestReportedRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider  string
		refusal   answer
		said      []resource.Spelling
		refreshes int
	}{
		"Slack: 200 with token_expired":       {"slack", answer{status: 200, body: `{"ok":false,"error":"token_expired"}`}, nil, 1},
		"Fabric: 403 without a body":          {"generic", answer{status: 403}, nil, 0},
		"Fabric, as the configuration has it": {"generic", answer{status: 403}, []resource.Spelling{{HTTPStatus: 403, Means: resource.UnauthorizedToken}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.state.Provider = c.provider
				if c.said != nil {
					b.backend.state.API = &resource.Server{Spellings: c.said}
				}
				transport := b.Transport(id)
				transport.Base = &api{answers: []answer{c.refusal, c.refusal, {status: 200}}}
				for range 3 {
					_, err := b.do(transport)
					require.NoError(t, err)
				}
				synctest.Wait()
				assert.Equal(t, c.refreshes, b.backend.refreshes)
			})
		})
	}
}

// TestReportedReplicaLag: GitHub's API accepts a new token only a moment later. The
// request is good after a short wait.
func TestReportedReplicaLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.state.Provider = "github"
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{bare401, bare401, {status: 200}}}
		for range 2 {
			status, err := b.do(transport)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		}
		assert.Equal(t, 1, b.backend.refreshes)
	})
}
