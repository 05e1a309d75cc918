package catalogue

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHeaders: a provider that wants headers gets them with each request of a connection's
// life, and an entry that does not name them is noticed.
func TestHeaders(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	for _, name := range []string{"xero", "hubspot", "facebook", "intercom", "zoom-account"} {
		k, err := lookup(name)
		require.NoError(t, err)
		without := k.entry
		k.entry.RequestHeaders = map[string]string{"Acme-Version": "2026-11-28", "Client-Id": "{client_id}"}
		life := scenariosOf(k.entry)[:1]
		if k.entry.Grant.FromCredentials() {
			life = credentialScenarios[:1]
		}
		assert.Empty(t, run(t, database, k, k.entry, life), name)
		assert.NotEmpty(t, run(t, database, k, without, life), name)
	}
}
