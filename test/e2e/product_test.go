package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

const productVariable = "PERENNIAL_TEST_PRODUCT"

// productOrder is what one process of product code must do: many goroutines ask for
// tokens until each has one of generation Want, or, if Want is 0, until each is told
// that there is none.
type productOrder struct {
	Path, Address, ID, API string
	Goroutines             int
	Want                   int64
	Engine                 bool   // the process may refresh by itself
	Remote                 bool   // the process has only the HTTP API
	URL, Key               string // of the API
}

// productReport is what the goroutines of a process saw.
type productReport struct {
	Calls       int
	Expired     int // tokens that had expired before the call
	Refused     int // tokens that the provider's API refused with a second or more left
	Reached     int // goroutines that have what they wanted
	Unavailable int // calls
	Others      []string
	LeastLeft   time.Duration // of a token that was handed out
	TooSoon     int           // calls that got no token while the last one was valid
}

// product is one process of product code. It prints "ready" when it has a token in
// memory, and begins to ask when it reads a line.
func product(raw string) error {
	var o productOrder
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	backend, done, err := o.backend(ctx)
	if err != nil {
		return err
	}
	defer done()
	using, err := tokens.New(tokens.Config{Backend: backend, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	if _, err := using.Token(ctx, o.ID); err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var mu sync.Mutex
	report := productReport{LeastLeft: time.Hour}
	var all sync.WaitGroup
	for range o.Goroutines {
		all.Go(func() { o.ask(ctx, using, &mu, &report) })
	}
	all.Wait()
	return json.NewEncoder(os.Stdout).Encode(report)
}

// backend returns the process's backend. done closes it.
func (o productOrder) backend(ctx context.Context) (b tokens.Backend, done func(), err error) {
	if o.Remote {
		b, err := remote.New(remote.Config{URL: o.URL, Key: perennial.NewSecret(o.Key)})
		return b, func() {}, err
	}
	cfg, err := config.LoadEnviron(o.Path, nil)
	if err != nil {
		return nil, nil, err
	}
	deps, err := wiring.Open(ctx, cfg, wiring.NewLogger(cfg, os.Stderr))
	if err != nil {
		return nil, nil, err
	}
	lazy, err := client.NewLazyClient(client.Options{HostPort: o.Address})
	if err != nil {
		return nil, nil, err
	}
	c := direct.Config{Tenant: "tenant", Store: deps.Store, Keys: deps.Keyring, Workflows: direct.Temporal(lazy, cfg.TaskQueue), Apps: cfg, Answer: 3 * time.Second, Floor: cfg.Timing.Floor()}
	if o.Engine {
		if err := deps.OpenSpool(); err != nil {
			return nil, nil, err
		}
		c.Engine = refresh.New(deps.EngineConfig())
	}
	own, err := direct.New(c)
	if err != nil {
		return nil, nil, err
	}
	return own, func() { own.Close(); lazy.Close(); deps.Close() }, nil
}

func (o productOrder) ask(ctx context.Context, using *tokens.Client, mu *sync.Mutex, report *productReport) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last time.Time // when the last token that it received expires
	for ctx.Err() == nil {
		began := time.Now()
		token, err := using.Token(ctx, o.ID)
		refused := false
		if err == nil && token.Generation == o.Want {
			refused = o.refused(ctx, token)
		}
		mu.Lock()
		report.Calls++
		var unavailable *tokens.ErrUnavailable
		switch {
		case errors.As(err, &unavailable):
			report.Unavailable++
			if last.After(time.Now()) {
				report.TooSoon++
			}
		case err != nil:
			report.Others = append(report.Others, err.Error())
		default:
			last = token.ExpiresAt
			report.LeastLeft = min(report.LeastLeft, token.ExpiresAt.Sub(began))
			if token.ExpiresAt.Before(began) {
				report.Expired++
			}
			if refused {
				report.Refused++
			}
		}
		done := o.Want > 0 && err == nil && token.Generation >= o.Want || o.Want == 0 && unavailable != nil
		if done {
			report.Reached++
		}
		mu.Unlock()
		if done {
			return
		}
		<-tick.C
	}
}

// refused calls the provider's own API with the token.
func (o productOrder) refused(ctx context.Context, token tokens.Token) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.API, nil)
	if err != nil {
		return true
	}
	req.Header.Set("Authorization", "Bearer "+token.Access.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return true
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
	_ = resp.Body.Close()
	return resp.StatusCode != http.StatusOK && time.Until(token.ExpiresAt) > time.Second
}

// products are several processes of product code.
type products struct {
	*stack
	inputs  []io.WriteCloser
	outputs []*bufio.Reader
	ends    []func() error
}

// served returns the address of this test's own server and a key of its tenant. It
// starts the server once.
func (s *stack) served() (url, key string) {
	s.Helper()
	if s.api.url == "" {
		k, whole := api.NewKey("tenant", s.Name(), perennial.ScopeTokensRead)
		_, err := api.NewKeyStore(s.deps.DB).Add(context.Background(), perennial.CommandLineAccess(), k)
		require.NoError(s, err)
		s.api.url, s.api.key = "http://"+s.serve().address, whole.Reveal()
	}
	return s.api.url, s.api.key
}

// products starts four processes and waits until each has a token in memory.
func (s *stack) products(o productOrder) *products {
	s.Helper()
	app, err := s.deps.Config.App("app")
	require.NoError(s, err)
	o.Path, o.Address, o.Goroutines, o.API = s.path, s.address, 50, strings.TrimSuffix(app.Provider.TokenURL, "/token")+"/api/ping"
	if o.Remote {
		o.URL, o.Key = s.served()
	}
	order, err := json.Marshal(o)
	require.NoError(s, err)
	p := &products{stack: s}
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), productVariable+"="+string(order))
		cmd.Stderr = s.logs
		in, err := cmd.StdinPipe()
		require.NoError(s, err)
		out, err := cmd.StdoutPipe()
		require.NoError(s, err)
		require.NoError(s, cmd.Start())
		p.inputs, p.outputs, p.ends = append(p.inputs, in), append(p.outputs, bufio.NewReader(out)), append(p.ends, cmd.Wait)
	}
	for _, out := range p.outputs {
		line, err := out.ReadString('\n')
		require.NoError(s, err, string(s.logs.Bytes()))
		require.Equal(s, "ready\n", line)
	}
	return p
}

func (p *products) begin() {
	p.Helper()
	for _, in := range p.inputs {
		_, err := io.WriteString(in, "go\n")
		require.NoError(p, err)
	}
}

// end waits for all processes and adds their reports.
func (p *products) end() productReport {
	p.Helper()
	sum := productReport{LeastLeft: time.Hour}
	for i, out := range p.outputs {
		var r productReport
		require.NoError(p, json.NewDecoder(out).Decode(&r), string(p.logs.Bytes()))
		require.NoError(p, p.ends[i]())
		sum.Calls, sum.Expired, sum.Refused, sum.Reached = sum.Calls+r.Calls, sum.Expired+r.Expired, sum.Refused+r.Refused, sum.Reached+r.Reached
		sum.Unavailable, sum.TooSoon, sum.Others, sum.LeastLeft = sum.Unavailable+r.Unavailable, sum.TooSoon+r.TooSoon, append(sum.Others, r.Others...), min(sum.LeastLeft, r.LeastLeft)
	}
	p.Logf("%+v", sum)
	assert.Empty(p, sum.Others)
	assert.Zero(p, sum.Expired, "nobody gets an expired token")
	assert.Zero(p, sum.Refused, "nor one that the provider refuses")
	assert.Zero(p, sum.TooSoon, "nor is anybody refused a living one")
	assert.Equal(p, 200, sum.Reached)
	return sum
}
