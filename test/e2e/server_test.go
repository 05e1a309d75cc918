package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linkBase is the address at which these tests' browsers reach a server's pages,
// wherever it listens; see [serverProcess.transport].
const linkBase = "http://localhost:1"

// serverBinary builds the server program once.
var serverBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "perennial-server-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "server")
	out, err := exec.Command("go", "build", "-o", path, "../../server").CombinedOutput()
	if err != nil {
		return "", &perennial.Error{Code: perennial.CodeInternal, Message: "build the server: " + string(out), Err: err}
	}
	return path, nil
})

// serverProcess is the server program as it runs in production.
type serverProcess struct {
	*exec.Cmd
	address string
	ended   chan error // receives the process's error when it ends
}

// serve starts the server program.
func (s *stack) serve() *serverProcess {
	s.Helper()
	path, err := serverBinary()
	require.NoError(s, err)
	p := &serverProcess{Cmd: exec.Command(path, "--config", s.path), ended: make(chan error, 1)}
	p.Env = append(os.Environ(), s.environ()...)
	stderr, err := p.StderrPipe()
	require.NoError(s, err)
	require.NoError(s, p.Start())
	s.Cleanup(func() { _ = p.Process.Kill() }) // a test may have ended it
	started := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintf(s.logs, "%s\n", lines.Bytes())
			var entry struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "server started" {
				started <- entry.Address
			}
		}
		p.ended <- p.Wait()
	}()
	select {
	case p.address = <-started:
	case err := <-p.ended:
		require.FailNow(s, "the server ended", "%v\n%s", err, s.logs.Bytes())
	}
	return p
}

// transport reaches the server at linkBase too.
func (p *serverProcess) transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if "http://"+address == linkBase {
			address = p.address
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

// remote returns a client with only an API key of the tenant.
func (s *stack) remote(p *serverProcess) *tokens.Client {
	s.Helper()
	k, key := api.NewKey("tenant", s.Name(), perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	_, err := api.NewKeyStore(s.deps.DB).Add(context.Background(), perennial.CommandLineAccess(), k)
	require.NoError(s, err)
	backend, err := remote.New(remote.Config{URL: "http://" + p.address, Key: key})
	require.NoError(s, err)
	c, err := tokens.New(tokens.Config{Backend: backend, Log: s.deps.Log})
	require.NoError(s, err)
	s.Cleanup(c.Close)
	return c
}

// TestStopWhileAnswering: a server that is told to stop answers running requests,
// accepts no new one, and ends in an orderly way.
func TestStopWhileAnswering(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	server := s.serve()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true, LatencyBeforeMS: 2000})
	asking := s.remote(server)
	answered := make(chan error, 1)
	go func() { answered <- asking.Backend.Refresh(context.Background(), c.ID, 1) }()
	s.eventually("the provider has the request", func() bool { return s.oracle("a1").MostInFlight > 0 })
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	s.eventually("it takes nothing new", func() bool {
		conn, err := net.DialTimeout("tcp", server.address, time.Second)
		if err == nil {
			_ = conn.Close() // only the connecting counts
		}
		return err != nil
	})
	require.NoError(t, <-answered, "the request was not cut")
	assert.NoError(t, <-server.ended, "exit code 0")
	assert.EqualValues(t, 2, s.get(c.ID).Generation)
}
