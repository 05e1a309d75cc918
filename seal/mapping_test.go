package seal_test

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
)

// TestBindingIsWhole: a value is sealed for its tenant, connection, field and generation.
func TestBindingIsWhole(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(seal.BindingOf(fill.Of[perennial.Connection](), seal.FieldAccessToken, 3)))
}
