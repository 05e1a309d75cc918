package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// built builds the examples' programs once and returns their folder.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "perennial-examples-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "../../examples/...").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the examples: %w\n%s", err, out)
	}
	return dir, nil
})

// around is the environment of the examples: a worker or none, the server with its
// connect pages, and the provider's API, at which access can be removed between two
// writes.
type around struct {
	*stack
	server *serverProcess // nil until serve
	listen string         // address reserved for the product
	orders string         // URL that takes orders
	key    string         // of the API

	revokeIn atomic.Int64 // number of writes; the customer removes access just before the last of them
	events   *disorder
}

const exampleAccount = "acme-7"

func setupExamples(t *testing.T) *around {
	t.Helper()
	a := &around{listen: freeAddress(t), events: newDisorder()}
	a.stack = setup(t, setting{links: true, back: "http://" + a.listen + "/settings", top: "notify: {allow_private: true}"})
	require.NoError(t, a.provider.SetKnobs(clientID, "", fakeprovider.Knobs{Rotate: true}))
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && a.revokeIn.Add(-1) == 0 {
			assert.NoError(t, a.provider.Revoke(clientID, exampleAccount))
		}
		a.events.wait(r)
		a.provider.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	a.orders = front.URL + "/api/orders"
	k, whole := api.NewKey("tenant", t.Name(), perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	_, err := api.NewKeyStore(a.deps.DB).Add(t.Context(), perennial.CommandLineAccess(), k)
	require.NoError(t, err)
	a.key = whole.Reveal()
	t.Cleanup(func() {
		for _, secret := range []string{"cl_", "fat_", "frt_", "fac_", a.key, clientSecret} { // the prefixes of links and tokens
			assert.NotContains(t, string(a.logs.Bytes()), secret)
		}
	})
	return a
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// serve runs the server program until the test ends.
func (a *around) serve() { a.Helper(); a.server = a.stack.serve() }

// browser returns the customer's browser, without JavaScript.
func (a *around) browser() *connecttest.Browser {
	a.Helper()
	transport := a.server.transport()
	a.Cleanup(transport.CloseIdleConnections)
	return connecttest.NewBrowser(a, linkBase, transport)
}

func (a *around) answers(url string) {
	a.Helper()
	a.eventually(url+" answers", func() bool {
		resp, err := http.Get(url)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// example returns a command that runs an example's program.
func (a *around) example(name string, args ...string) *exec.Cmd {
	a.Helper()
	dir, err := built()
	require.NoError(a, err)
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Env = append(os.Environ(), "PROVIDER_API="+a.orders, "TEMPORAL_ADDRESS="+a.address)
	if a.server != nil {
		cmd.Env = append(cmd.Env, "PERENNIAL_URL=http://"+a.server.address, "PERENNIAL_KEY="+a.key)
	}
	cmd.Stderr = a.logs
	return cmd
}

// run runs a program until the test ends. The program must exit with 0.
func (a *around) run(cmd *exec.Cmd) {
	a.Helper()
	require.NoError(a, cmd.Start())
	a.Cleanup(func() {
		assert.NoError(a, cmd.Process.Signal(syscall.SIGTERM))
		assert.NoError(a, cmd.Wait(), string(a.logs.Bytes()))
	})
}

// once checks by the provider's books that there are n writes, each with its own key.
func (a *around) once(n int) {
	a.Helper()
	books := a.oracle(exampleAccount)
	keys := map[string]bool{}
	for _, w := range books.Writes {
		key, ok := strings.CutPrefix(w, "POST /api/orders ")
		assert.True(a, ok && key != "", "%q has a key", w)
		assert.False(a, keys[key], "%s is written once", key)
		keys[key] = true
	}
	assert.Len(a, keys, n)
	assert.Zero(a, books.ConsumedPresentations)
}

func (a *around) written() int { a.Helper(); return len(a.oracle(exampleAccount).Writes) }

// loseAnswers makes the provider do the next n writes without answering.
func (a *around) loseAnswers(n int) {
	a.Helper()
	require.NoError(a, a.provider.Adjust(clientID, exampleAccount, func(k *fakeprovider.Knobs) { k.WriteDropAfter = n }))
}
