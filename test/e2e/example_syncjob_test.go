package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestExampleSyncjob: the job ends by saying what to do, and writes the rest when it
// runs again.
func TestExampleSyncjob(t *testing.T) {
	t.Parallel()
	a := setupExamples(t)
	a.work()
	a.serve()
	c := a.connect(exampleAccount, fakeprovider.Knobs{Rotate: true})
	outbox := t.TempDir()
	for n := range 5 {
		require.NoError(t, os.WriteFile(filepath.Join(outbox, fmt.Sprint("order-", n)), []byte(`{}`), 0o600))
	}
	var said bytes.Buffer
	job := func() int {
		said.Reset()
		cmd := a.example("syncjob", "-connection", c.ID, "-to", a.orders, outbox)
		cmd.Stdout, cmd.Stderr = &said, &said
		_ = cmd.Run() // only the exit code counts
		t.Logf("%s", said.Bytes())
		return cmd.ProcessState.ExitCode()
	}
	left := func() int {
		files, err := os.ReadDir(outbox)
		require.NoError(t, err)
		return len(files)
	}

	a.revokeIn.Store(3)
	code := job()
	assert.Contains(t, []int{5, 6}, code, "the refusal is not confirmed yet, or is")
	a.until(c.ID, "the revocation confirmed", status(perennial.StatusReconnectRequired))
	assert.Equal(t, 5, job())
	assert.Contains(t, said.String(), "put aside: Reconnect needed: access was removed in Acme. Run it again when the customer has reconnected at https://app.example/"+c.ID)
	assert.Equal(t, 3, left())
	_, err := a.service.Reconnect(t.Context(), perennial.WorkerAccess(), c.ID, a.consent(exampleAccount, fakeprovider.Knobs{Rotate: true}))
	require.NoError(t, err)
	a.loseAnswers(20)
	assert.Equal(t, 6, job(), "no answer comes")
	assert.Equal(t, 3, left())
	a.loseAnswers(0)
	assert.Equal(t, 0, job())
	assert.Zero(t, left())
	a.once(5)
	assert.NotZero(t, a.oracle(exampleAccount).RepeatedWrites)
	assert.Equal(t, 0, job(), "nothing is left to do")
	assert.NotContains(t, said.String(), "fat_")
}
