package perennial_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/perennial-oauth/perennial"
)

func TestDescribeConnect(t *testing.T) {
	t.Parallel()
	seen := map[string]perennial.ConnectOutcome{}
	for _, o := range perennial.ConnectOutcomes {
		w := perennial.DescribeConnect(o, "HubSpot")
		assert.NotContains(t, w.Label+w.Detail+w.Action, "{p}", o)
		assert.NotEmpty(t, w.Label, o)
		assert.NotEmpty(t, w.Detail, o)
		assert.Equal(t, o == perennial.ConnectConnected, w.Action == "", "%s: what to do", o)
		assert.Empty(t, seen[w.Label+w.Detail], "%s says the same", o)
		seen[w.Label+w.Detail] = o
	}
	assert.Equal(t, "HubSpot was not connected", perennial.DescribeConnect("another", "HubSpot").Label, "of a newer program")
}
