package refresh

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
)

// TestBothWaysAskTheSame: the gate gets every value, and the same ones from the slow
// path and from the single statement.
func TestBothWaysAskTheSame(t *testing.T) {
	t.Parallel()
	e := New(Config{})
	app := fill.Of[provider.App]()
	slow := e.admitRequest(fill.Of[perennial.Connection](), app)
	fast := e.fastAdmitRequest(Request{ConnectionID: "con_1", Generation: 1, App: "app"}, app)
	assert.Empty(t, fill.Zeros(slow))
	assert.Empty(t, fill.Zeros(fast))
	assert.Equal(t, []any{slow.Rate, slow.Patience, slow.Lead}, []any{fast.Rate, fast.Patience, fast.Lead})
}
