package wiring_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// TestNamespace: the namespace is the one that the connection to Temporal uses, also where
// Temporal's own configuration file names it.
func TestNamespace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "temporal.toml")
	require.NoError(t, os.WriteFile(file, []byte("[profile.default]\nnamespace = \"of-the-file\"\n"), 0o600))
	bad := filepath.Join(t.TempDir(), "bad.toml")
	require.NoError(t, os.WriteFile(bad, []byte("[profile"), 0o600))
	for name, c := range map[string]struct {
		environ []string
		want    string
	}{
		"nothing":              {nil, "default"},
		"a variable":           {[]string{"TEMPORAL_NAMESPACE=of-the-variable"}, "of-the-variable"},
		"the file":             {[]string{"TEMPORAL_CONFIG_FILE=" + file}, "of-the-file"},
		"a variable over both": {[]string{"TEMPORAL_CONFIG_FILE=" + file, "TEMPORAL_NAMESPACE=of-the-variable"}, "of-the-variable"},
	} {
		got, err := wiring.Namespace(t.Context(), &config.Config{}, append(c.environ, "HOME="+t.TempDir()))
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got, name)
	}
	got, err := wiring.Namespace(t.Context(), &config.Config{}, []string{"TEMPORAL_NAMESPACE=x", "HOME=" + t.TempDir()},
		func(_ context.Context, o client.Options) (client.Options, error) {
			o.Namespace += "-of-the-team"
			return o, nil
		})
	require.NoError(t, err)
	assert.Equal(t, "x-of-the-team", got)
	_, err = wiring.Namespace(t.Context(), &config.Config{}, []string{"TEMPORAL_CONFIG_FILE=" + bad})
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
}
