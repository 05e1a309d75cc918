package cli

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
)

// TestShownAppIsWhole: every fact about an app, and about its provider, is shown.
func TestShownAppIsWhole(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"Metadata"}, fill.Zeros(showApp(fill.Of[provider.App](), fill.Of[store.AppState]())), "they are read from the database")
}

// TestGoldenJSON compares the output of --json.
func TestGoldenJSON(t *testing.T) {
	t.Parallel()
	golden.JSON(t, "json", map[string]any{
		"app":        fill.Of[shownApp](),
		"doctor":     fill.Of[doctor.Report](),
		"provider":   fill.Of[shownProvider](),
		"change":     fill.Of[provider.Change](),
		"connection": fill.Of[shown](),
		"version":    fill.Of[version.Info](),
		"tried":      fill.Of[provider.Explanation](),
		"measured":   fill.Of[shownMeasured](),
		"plan":       fill.Of[measure.Step](),
	})
}
