package e2e

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestExampleCurl: a shell takes a connection through its whole life.
func TestExampleCurl(t *testing.T) {
	t.Parallel()
	a := setupExamples(t)
	a.work()
	a.serve()
	cmd := a.example("") // for its environment
	cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "../../examples/curl/connect.sh", "app"}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if link, ok := strings.CutPrefix(lines.Text(), "Open this link and allow access: "); ok {
			a.browser().Go(link, connecttest.Consent{Account: exampleAccount})
		}
	}
	require.NoError(t, cmd.Wait(), "%s\n%s", said.String(), a.logs.Bytes())
	assert.Regexp(t, `(?s)Connected: con_.*Token of generation 1: the provider answers 200.*Token of generation 2: the provider answers 200.*`+
		`Active connections: "account_id":"acme-7".*Attempts: "outcome":"refreshed".*Ended: disconnected, its grant at the provider: done`, said.String())
	assert.NotContains(t, said.String(), "fat_")
	assert.True(t, a.oracle(exampleAccount).Revoked)
}
