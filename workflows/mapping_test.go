package workflows

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStatusIsWhole: the query shows everything that the run knows.
func TestStatusIsWhole(t *testing.T) {
	t.Parallel()
	r := &run{view: fill.Of[activities.View](), state: fill.Of[State](), due: time.Now()}
	got, err := r.status()
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(got))
}
