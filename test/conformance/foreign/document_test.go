package foreign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocument: the document shows each description as it was tried.
func TestDocument(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../docs/foreign_servers.md")
	require.NoError(t, err)
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, strings.Contains(string(raw), "```yaml\n"+string(text)+"```\n"), "docs/foreign_servers.md does not show %s", file)
	}
	assert.Equal(t, len(files), strings.Count(string(raw), "```yaml"))
}
