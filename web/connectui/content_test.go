package connectui

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPagesSayEverything: the first page leads back to the product, and the page of each
// outcome has all the words of its outcome.
func TestPagesSayEverything(t *testing.T) {
	t.Parallel()
	const back = "https://product.example/settings"
	sessions, err := connect.NewSessions(connect.SessionsConfig{BaseURL: "https://connect.example", ReturnURLs: connect.ReturnURLs{back}})
	require.NoError(t, err)
	h := &Handler{Config: Config{Product: "Acme", Sessions: sessions}}
	v := connect.View{Title: "QuickBooks"}
	v.ReturnURL, v.Missing = back, []string{"read"}
	assert.Contains(t, h.begin(v).Back, back)
	for _, outcome := range perennial.ConnectOutcomes {
		v.Outcome = outcome
		words, p := perennial.DescribeConnect(outcome, v.Title), h.outcome(v)
		assert.Equal(t, []string{words.Label, words.Detail, words.Action}, []string{p.Heading, p.Detail, p.Action}, outcome)
		assert.Contains(t, p.Back+p.Onward, back, outcome)
		assert.Equal(t, v.Missing, p.Items, outcome)
	}
}
