package child

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTail: Tail shows the end of this child's output and nothing of an earlier
// child's.
func TestTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	first, err := OpenLog(path)
	require.NoError(t, err)
	_, err = first.WriteString("of the first child\n")
	require.NoError(t, err)
	require.NoError(t, first.Close())
	second, err := OpenLog(path)
	require.NoError(t, err)
	assert.Equal(t, "; its output is in "+path, second.Tail())
	_, err = second.WriteString("address already in use\n")
	require.NoError(t, err)
	require.NoError(t, second.Close())
	assert.Equal(t, "; its output is in "+path+" and ends with:\naddress already in use", second.Tail())

	long, err := OpenLog(path)
	require.NoError(t, err)
	defer long.Close()
	_, err = long.WriteString(strings.Repeat("x", 2*maxTail) + " the end")
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(long.Tail(), "x the end"))
	assert.Less(t, len(long.Tail()), 2*maxTail)
	assert.Empty(t, (*Log)(nil).Tail(), "no log")
}
