// Package deploy checks the deployment files against the programs that they run.
package deploy

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestImagesArePinned checks the images that the Dockerfile builds from.
func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(raw), -1)
	require.NotEmpty(t, from)
	for _, image := range from {
		assert.Regexp(t, `:([0-9][0-9a-z.-]+|nonroot)$`, image[1])
	}
}
