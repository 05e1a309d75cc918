package notify

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/require"
)

type noApps struct{}

func (noApps) App(string) (provider.App, error) {
	return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "no app")
}

// TestGoldenBody: the message that a receiver of events gets.
func TestGoldenBody(t *testing.T) {
	t.Parallel()
	raw, err := body(fill.Of[perennial.Event](), noApps{})
	require.NoError(t, err)
	golden.Text(t, "body.json", string(raw)+"\n")
}

func TestGoldenColumns(t *testing.T) {
	t.Parallel()
	golden.Columns(t, golden.Tags(endpointRow{}, deliveryRow{}))
}
