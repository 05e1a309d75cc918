package client

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
)

// TestTokenIsWhole: a caller gets every field of a token.
func TestTokenIsWhole(t *testing.T) {
	t.Parallel()
	state := fill.Of[TokenState]()
	state.Access = perennial.NewSecret("token")
	assert.Empty(t, fill.Zeros(take("con_1", state, time.Now(), time.Minute).token))
}
