package cli

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/stretchr/testify/assert"
)

// TestBindingIsWhole: doctor sees everything about the binding, and each of its places.
func TestBindingIsWhole(t *testing.T) {
	t.Parallel()
	f := fill.Of[wiring.Found]()
	f.State = wiring.Bound
	out := bindingOf(f)
	assert.Empty(t, fill.Zeros(out))
	assert.Equal(t, []string{"task queue task_queue of namespace namespace, verified 2026-01-02 17:35:05Z"}, out.Places)
}
