package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/direct"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/pgserver"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/worker/host"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

const productVariable = "PERENNIAL_TEST_PRODUCT"

// productOrder is what one process of product code does: many goroutines ask for
// tokens until each has one of generation Want, or is told that there is none
// where Want is 0.
type productOrder struct {
	Path, Address, ID, API string
	Goroutines             int
	Want                   int64
	Engine                 bool // the process may refresh itself
}

// productReport is what they met.
type productReport struct {
	Calls       int
	Expired     int // tokens that had expired before they were asked for
	Refused     int // by the API, with a second or more left
	Reached     int // goroutines that have what they wanted
	Unavailable int // calls
	Others      []string
	LeastLeft   time.Duration // of a token that was handed out
	TooSoon     int           // told that there is none, while the last token lived
}

// product is one process of product code. It says "ready" when it has a token in
// memory, and begins to ask when a line comes.
func product(raw string) error {
	var o productOrder
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cfg, err := config.LoadEnviron(o.Path, nil)
	if err != nil {
		return err
	}
	deps, err := host.Open(ctx, cfg, host.NewLogger(cfg, os.Stderr))
	if err != nil {
		return err
	}
	defer deps.Close()
	lazy, err := client.NewLazyClient(client.Options{HostPort: o.Address})
	if err != nil {
		return err
	}
	defer lazy.Close()
	c := direct.Config{Tenant: "tenant", Store: deps.Store, Keys: deps.Keyring, Workflows: direct.Temporal(lazy, cfg.TaskQueue), Apps: cfg, Answer: 3 * time.Second}
	if o.Engine {
		if err := deps.OpenSpool(); err != nil {
			return err
		}
		c.Engine = refresh.New(deps.EngineConfig())
	}
	backend, err := direct.New(c)
	if err != nil {
		return err
	}
	defer backend.Close()
	using, err := tokens.New(tokens.Config{Backend: backend, Log: deps.Log})
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

func (o productOrder) ask(ctx context.Context, using *tokens.Client, mu *sync.Mutex, report *productReport) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last time.Time // when the last token that it had expires
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

// refused asks the provider's own API.
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
	_, _ = io.Copy(io.Discard, resp.Body) // its status is all that counts
	_ = resp.Body.Close()
	return resp.StatusCode != http.StatusOK && time.Until(token.ExpiresAt) > time.Second
}

// products are processes of product code.
type products struct {
	*stack
	inputs  []io.WriteCloser
	outputs []*bufio.Reader
	ends    []func() error
}

// products starts four processes and waits until each has a token in memory.
func (s *stack) products(o productOrder) *products {
	s.Helper()
	app, err := s.deps.Config.App("app")
	require.NoError(s, err)
	o.Path, o.Address, o.Goroutines, o.API = s.path, s.address, 50, strings.TrimSuffix(app.Provider.TokenURL, "/token")+"/api/ping"
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

// end waits for all and adds up what they met.
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

// short is a token whose renewal 200 goroutines meet.
var short = fakeprovider.Knobs{LifetimeSeconds: 20, Rotate: true, LatencyBeforeMS: 1000}

// TestProductOneRequest has 200 goroutines in 4 processes ask for a token that is
// expiring, while its own timer is due too.
func TestProductOneRequest(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID, Want: 2})
	<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C // MinTTL of this life
	p.begin()
	s.work() // late: the timer is due, and everybody asks
	p.end()
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	assert.EqualValues(t, 2, s.get(c.ID).Generation)
	assert.NotZero(t, s.get(c.ID).LastUsedAt)
}

// TestProductWithoutWorker: no worker answers, and the processes have engines.
func TestProductWithoutWorker(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID, Want: 2, Engine: true})
	<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C
	p.begin()
	p.end()
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	s.work() // the workflow finds it done
	_, err := s.updates.RefreshNow(t.Context(), c.ID, workflows.RefreshNow{IfGeneration: c.Generation})
	require.NoError(t, err)
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
}

// TestProductWithoutTemporal: Temporal is stopped before the token expires.
func TestProductWithoutTemporal(t *testing.T) {
	t.Parallel()
	server, err := startTemporal(t.TempDir(), 0, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Kill() })
	s := setup(t, setting{address: server.Address})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID, Want: 2, Engine: true})
	require.NoError(t, server.Kill())
	<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C
	p.begin()
	p.end()
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
}

// TestProductWithNothing: Temporal and the database are both stopped. The token
// serves to its end, and no longer. When the database is back, the processes
// carry on without Temporal.
func TestProductWithNothing(t *testing.T) {
	t.Parallel()
	server, err := startTemporal(t.TempDir(), 0, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Kill() })
	pg, err := pgserver.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pg.Stop() })
	s := setup(t, setting{address: server.Address, url: pg.URL})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID, Engine: true})
	require.NoError(t, server.Kill())
	require.NoError(t, pg.Stop())
	require.Greater(t, time.Until(c.ExpiresAt), 2*time.Second, "the machine was too slow to stop them in time")
	p.begin()
	sum := p.end()
	assert.Less(t, sum.LeastLeft, 2*time.Second, "served to the end")
	assert.Zero(t, s.provider.Oracle().TokenRequests)

	require.NoError(t, pg.Run())
	again := s.products(productOrder{ID: c.ID, Want: 2, Engine: true})
	again.begin()
	again.end()
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	assert.Equal(t, perennial.StatusActive, s.get(c.ID).Status)
}

// TestProductAlone has no engine and no worker: what is left serves to its end,
// and then everybody is told to come again.
func TestProductAlone(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID})
	<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C
	p.begin()
	sum := p.end()
	assert.Equal(t, 200, sum.Unavailable)
	assert.Less(t, sum.LeastLeft, 2*time.Second, "served to the end")
	assert.Zero(t, s.provider.Oracle().TokenRequests)
}

// TestProductHTTP sends requests with a token whose provider lies about its life:
// it is refused long before its time. Each write lands at most once, by the
// provider's books.
func TestProductHTTP(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	const lies = 3 * time.Second
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: lies.Seconds() - 0.1, ExpiresIn: "1800", Rotate: true})
	backend, err := direct.New(direct.Config{Tenant: "tenant", Store: s.deps.Store, Keys: s.deps.Keyring,
		Workflows: direct.Temporal(s.client, s.deps.Config.TaskQueue), Apps: s.deps.Config})
	require.NoError(t, err)
	using, err := tokens.New(tokens.Config{Backend: backend, Log: s.deps.Log})
	require.NoError(t, err)
	t.Cleanup(using.Close)
	app, err := s.deps.Config.App("app")
	require.NoError(t, err)
	api := strings.TrimSuffix(app.Provider.TokenURL, "/token") + "/api/"
	send := func(method, path, key string) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, api+path, strings.NewReader("body"))
		require.NoError(t, err)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := using.HTTPClient(c.ID).Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	status, err := send(http.MethodPost, "first", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	<-time.NewTimer(lies).C // the provider's token is dead
	status, err = send(http.MethodPost, "keyed", "k1")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status, "renewed, and sent again")
	assert.EqualValues(t, 2, s.get(c.ID).Generation)
	assert.NotZero(t, s.get(c.ID).LastUnauthorizedAt)
	<-time.NewTimer(lies).C
	status, err = send(http.MethodPost, "plain", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, status, "not sent again")
	_, err = send(http.MethodGet, "ping", "")
	var still *tokens.ErrStillUnauthorized
	require.ErrorAs(t, err, &still, "a provider that lies so is not refreshed at every request")
	assert.EqualValues(t, 2, s.get(c.ID).Generation)
	assert.Equal(t, []string{"POST /api/first ", "POST /api/keyed k1"}, s.oracle("a1").Writes)

	require.NoError(t, s.provider.Revoke(clientID, "a1"))
	other, err := tokens.New(tokens.Config{Backend: backend, Log: s.deps.Log}) // another process
	require.NoError(t, err)
	t.Cleanup(other.Close)
	using = other
	s.eventually("the customer is asked to reconnect", func() bool {
		_, err := send(http.MethodGet, "ping", "")
		var reconnect *tokens.ErrReconnectRequired
		return errors.As(err, &reconnect) && reconnect.Reason == perennial.ReasonInvalidGrant && !reconnect.Since.IsZero()
	})
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	assert.NotContains(t, string(s.logs.Bytes()), "fat_", "every access token begins so")
}
