package provider

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

// TestPrefer: the order of the other secrets stays, and so does the app it came from.
func TestPrefer(t *testing.T) {
	t.Parallel()
	var app App
	for _, s := range []string{"a", "b", "c"} {
		app.ClientSecrets = append(app.ClientSecrets, perennial.NewSecret(s))
	}
	order := func(a App) (out string) {
		for _, s := range a.Secrets() {
			out += s.Reveal()
		}
		return out
	}
	for digest, want := range map[string]string{"": "abc", "unknown": "abc", app.ClientSecrets[0].Digest(): "abc", app.ClientSecrets[1].Digest(): "bac", app.ClientSecrets[2].Digest(): "cab"} {
		assert.Equal(t, want, order(app.Prefer(digest)))
		assert.Equal(t, "abc", order(app))
	}
	assert.Equal(t, App{}.Secrets(), App{}.Prefer("x").Secrets(), "a public client")
}
