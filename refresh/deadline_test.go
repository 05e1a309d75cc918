package refresh

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/require"
)

const (
	stalledVariable = "PERENNIAL_TEST_STALLED" // the token endpoint that the stopped child calls
	stalledTimeout  = time.Second
)

// TestAStoppedProcessStillReadsItsReply stops a process during a presentation for
// longer than its timeout. The reply arrives meanwhile, and the process reads it
// afterwards.
func TestAStoppedProcessStillReadsItsReply(t *testing.T) {
	if url := os.Getenv(stalledVariable); url != "" {
		ctx, cancel := within(context.Background(), stalledTimeout)
		defer cancel()
		app := provider.App{ClientID: "c", Provider: provider.Entry{TokenURL: url}}
		reply := provider.NewClient(provider.ClientConfig{}).Refresh(ctx, app, perennial.NewSecret("s"), perennial.NewSecret("r"), func(context.Context) error { return nil })
		fmt.Println("outcome:", reply.Outcome, reply.Code)
		return
	}
	t.Parallel()
	for i := range 8 { // if two events are ready, chance decides which is seen first
		// Once long after its timeout, and once so shortly that timers are hardly late.
		stands := stalledTimeout + []time.Duration{time.Second, 50 * time.Millisecond}[i%2]
		var child *exec.Cmd
		started, answered := make(chan struct{}), make(chan error, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-started
			err := child.Process.Signal(syscall.SIGSTOP)
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"a","refresh_token":"n","token_type":"bearer","expires_in":3600}`)
			answered <- err
		}))
		child = exec.Command(os.Args[0], "-test.run=^TestAStoppedProcessStillReadsItsReply$", "-test.v")
		child.Env = append(os.Environ(), stalledVariable+"="+server.URL)
		var out strings.Builder
		child.Stdout, child.Stderr = &out, &out
		require.NoError(t, child.Start())
		close(started)
		require.NoError(t, <-answered)
		<-time.After(stands) // the fault: the process is stopped for so long
		require.NoError(t, child.Process.Signal(syscall.SIGCONT))
		require.NoError(t, child.Wait(), out.String())
		server.Close()
		require.Contains(t, out.String(), "outcome: refreshed")
	}
}

// TestATimeoutIsOne: a process that runs gives up at its timeout.
func TestATimeoutIsOne(t *testing.T) {
	t.Parallel()
	ctx, cancel := within(context.Background(), 10*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
	left, cancel := within(context.Background(), time.Hour)
	cancel()
	require.ErrorIs(t, left.Err(), context.Canceled)
}

// TestATimeoutIsNamed: an endpoint that never answers is reported as a timeout, not as
// a caller that left.
func TestATimeoutIsNamed(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	defer server.Close()
	defer close(over)
	ctx, cancel := within(context.Background(), 50*time.Millisecond)
	defer cancel()
	app := provider.App{ClientID: "c", Provider: provider.Entry{TokenURL: server.URL}}
	reply := provider.NewClient(provider.ClientConfig{}).Refresh(ctx, app, perennial.NewSecret("s"), perennial.NewSecret("r"), func(context.Context) error { return nil })
	require.Equal(t, perennial.OutcomeUnknown, reply.Outcome)
	require.Equal(t, "timeout", reply.Code)
}
