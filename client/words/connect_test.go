package words_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/perennial-oauth/perennial/client/words"
)

func TestDescribeConnect(t *testing.T) {
	t.Parallel()
	seen := map[string]words.ConnectOutcome{}
	for _, o := range words.ConnectOutcomes {
		w := words.DescribeConnect(o, "HubSpot")
		assert.NotContains(t, w.Label+w.Detail+w.Action, "{p}", o)
		assert.NotEmpty(t, w.Label, o)
		assert.NotEmpty(t, w.Detail, o)
		assert.Equal(t, o == words.ConnectConnected, w.Action == "", "%s: what to do", o)
		assert.Empty(t, seen[w.Label+w.Detail], "%s says the same", o)
		seen[w.Label+w.Detail] = o
	}
	assert.Equal(t, "HubSpot was not connected", words.DescribeConnect("another", "HubSpot").Label, "of a newer program")
}
