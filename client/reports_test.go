package client

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReportedRefusals: APIs that report an expired token without a 401. The client
// does not recognize them yet: it uses the refused token until its next due time.
func TestReportedRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider string
		refusal  answer
	}{
		"Slack: 200 with token_expired": {"slack", answer{status: 200, body: `{"ok":false,"error":"token_expired"}`}},
		"Fabric: 403 without a body":    {"generic", answer{status: 403}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.state.Provider = c.provider
				transport := b.Transport(id)
				transport.Base = &api{answers: []answer{c.refusal, c.refusal, {status: 200}}}
				for range 3 {
					_, err := b.do(transport)
					require.NoError(t, err)
				}
				synctest.Wait()
				assert.Zero(t, b.backend.refreshes, "known to be wrong: 1 is right; if it is 1 now, expect that here")
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
