package fakeprovider

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
)

// TestOracleIsWhole: the oracle says everything that the provider knows of a grant.
func TestOracleIsWhole(t *testing.T) {
	t.Parallel()
	g := fill.Of[grant]()
	assert.Equal(t, []string{"LiveAccessTokens"}, fill.Zeros(g.oracle()), "the tokens are counted")
}
