package foreign

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/child"
	"github.com/stretchr/testify/require"
)

// proxy is the address of a foreign server for everybody. It counts the requests of the
// token endpoint, and can lose a reply on its way.
type proxy struct {
	*httptest.Server
	tokenPath string
	target    url.URL
	requests  atomic.Int32 // of the token endpoint
	lose      atomic.Int32 // number of next replies of the token endpoint that are lost after the work
}

var errLost = errors.New("the test loses this reply")

// newProxy returns the proxy of a server that will listen at the port.
func newProxy(t *testing.T, port int, tokenPath string) *proxy {
	t.Helper()
	p := &proxy{tokenPath: tokenPath, target: url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}}
	p.Server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&p.target)
			r.Out.Host = r.In.Host // the server's links lead to the proxy
		},
		ModifyResponse: p.returned,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, errLost) {
				panic(http.ErrAbortHandler)
			}
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) returned(resp *http.Response) error {
	if resp.Request.URL.Path != p.tokenPath {
		return nil
	}
	p.requests.Add(1)
	if p.lose.Load() == 0 {
		return nil
	}
	p.lose.Add(-1)
	_, err := io.Copy(io.Discard, resp.Body)
	return errors.Join(errLost, err, resp.Body.Close())
}

// freePort returns a port on which no process listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// program returns the path of a program that a distribution's package brings.
func program(t *testing.T, path string) string {
	t.Helper()
	found, err := exec.LookPath(path)
	require.NoError(t, err, "run scripts/foreign: it installs the servers that these tests start")
	return found
}

// startLimit is how long a server may need until it answers.
const startLimit = 2 * time.Minute

// start starts a server in dir and waits until it answers below base. It ends with the
// test.
func start(t *testing.T, dir, base string, env []string, path string, args ...string) {
	t.Helper()
	log, err := child.OpenLog(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	defer log.Close()
	cmd := command(t, dir, env, path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	done, err := child.Start(cmd)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-done
	})
	tick, limit := time.NewTicker(50*time.Millisecond), time.NewTimer(startLimit)
	defer tick.Stop()
	for {
		if resp, err := http.Get(base); err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-done:
			t.Fatalf("%s ended at its start%s", filepath.Base(path), log.Tail())
		case <-limit.C:
			t.Fatalf("%s does not answer%s", filepath.Base(path), log.Tail())
		case <-tick.C:
		}
	}
}

// command returns a command that ends with this process.
func command(t *testing.T, dir string, env []string, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "RUBY") && !strings.HasPrefix(v, "PYTHON") { // they would change which libraries are found
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
