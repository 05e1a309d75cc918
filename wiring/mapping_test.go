package wiring

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// TestSettingsReachTheParts: a process passes every setting and every part on. The
// listed fields have a default that no setting changes.
func TestSettingsReachTheParts(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{Connect: fill.Of[config.Connect](), Timing: fill.Of[config.Config]().Timing}
	cfg.Notify.AllowPrivate = true
	d := &Deps{Config: cfg, Log: NewLogger(cfg, t.Output()), Store: &store.Store{}, Keyring: &seal.Keyring{}, Spool: &spool.Spool{}, binding: &Binding{}}
	observer := metrics.NewNotify(prometheus.NewRegistry())

	notifier := d.notifyConfig(observer)
	assert.Equal(t, []string{"Timeout", "Tries"}, fill.Zeros(notifier))
	assert.Equal(t, []string{"Resolver"}, fill.Zeros(notifier.Addresses))
	assert.Empty(t, fill.Zeros(d.sessionsConfig(&connect.Service{})))
	assert.Equal(t, []string{"Failures"}, fill.Zeros(d.pagesConfig(&connect.Sessions{})))
	service := d.Connections(&connect.Temporal{})
	assert.Empty(t, fill.Zeros(service.Config))
	assert.Same(t, d.Log, service.Log, "otherwise it would discard its log")
	assert.Empty(t, fill.Zeros(*d.Disconnector(service)))
	d.Config.Apps, d.Config.Server = fill.Of[config.Config]().Apps, fill.Of[config.Config]().Server
	d.DB = &db.DB{}
	d.Config.Discovery.AllowPrivate = true
	assert.Equal(t, []string{"Every"}, fill.Zeros(d.discoveryConfig()))
	assert.Equal(t, []string{"Failures", "Now"}, fill.Zeros(apiConfig(d, service, &links{sessions: &connect.Sessions{}}, &tokens{}, metrics.NewAPI(prometheus.NewRegistry()))))
	engine := d.EngineConfig()
	assert.Equal(t, []string{"Observer"}, fill.Zeros(engine), "each process sets its own")
	assert.Equal(t, cfg.Timing, engine.Timing)

	d.Config.Sweep.Every = 7 * time.Second
	backend, err := (&tokens{deps: d, engine: refresh.New(engine)}).of(accesstest.Of(t, "tenant"))
	require.NoError(t, err)
	tokens := backend.(*direct.Backend).Config
	assert.Equal(t, []string{"Tenant", "Sessions", "Disconnector"}, fill.Zeros(tokens), "each request has its access, and the API does the rest itself")
	assert.Equal(t, 7*time.Second, tokens.Sweep)
	assert.Equal(t, 14*time.Second, d.watchdog(refresh.New(engine), nil, nil).patience)
}

// TestPartsAreWhole: each part of a worker gets all that it works with.
func TestPartsAreWhole(t *testing.T) {
	t.Parallel()
	cfg := fill.Of[config.Config]()
	d := &Deps{Config: &cfg, Log: NewLogger(&cfg, t.Output()), Store: &store.Store{}, Spool: &spool.Spool{}}
	told := &connect.Temporal{}
	p := d.newPart(&refresh.Engine{})
	p.startPacers, p.dispatch = func(context.Context) error { return nil }, func(context.Context) (int, error) { return 0, nil }
	p.watchdog = d.watchdog(p.engine, nil, nil)
	assert.Empty(t, fill.Zeros(*p.watchdog.fallback))
	assert.NotNil(t, p.watchdog.rows)
	assert.NotNil(t, p.watchdog.log)
	assert.Equal(t, 2*cfg.Sweep.Every, p.watchdog.patience)
	assert.Empty(t, fill.Zeros(p.watchdog.request(false)))
	p.apps = d.newAppKeeper(nil, told, p.watchdog.fallback)
	assert.Empty(t, fill.Zeros(*p.apps.acts))
	assert.Empty(t, fill.Zeros(*p.apps.acts.Canaries))
	assert.Empty(t, fill.Zeros(*p.apps.acts.Releaser))
	for _, part := range d.parts(p, told, &Binding{}, &notify.Service{}) {
		assert.Empty(t, fill.Zeros(part), "%T", part)
	}
	assert.Equal(t, []string{"slow"}, fill.AllZeros(p), "it counts")
	assert.Equal(t, cfg.Timing, d.workflowOptions().Timing)
	assert.Empty(t, fill.Zeros(d.Workflows(away{})))
}

// away is a Temporal that nobody asks.
type away struct{ client.Client }

// TestProcessIsWhole: the report of a process and the sources of its probes. The listed
// fields are found while it runs.
func TestProcessIsWhole(t *testing.T) {
	t.Parallel()
	cfg := fill.Of[config.Config]()
	d := &Deps{Config: &cfg, Log: NewLogger(&cfg, t.Output()), Store: &store.Store{}, Keyring: &seal.Keyring{}, binding: &Binding{}}
	assert.Equal(t, []string{"ClockOffset", "SpoolSets", "Binding", "ReportedAt"}, fill.Zeros(d.process(KindWorker)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()
	assert.Equal(t, []string{"started", "draining", "schema", "database", "temporal", "answer", "neglected", "server", "stopChecks"}, fill.AllZeros(newHealth(l, d, away{})))
}

// TestBindingIsWhole: a binding knows its place, and everything found there goes on to the
// database and to Temporal.
func TestBindingIsWhole(t *testing.T) {
	t.Parallel()
	cfg := fill.Of[config.Config]()
	d := &Deps{Config: &cfg, Log: NewLogger(&cfg, t.Output()), Store: &store.Store{}}
	b, err := d.BindingFor(t.Context(), away{}, []string{"TEMPORAL_ADDRESS=127.0.0.1:1"})
	require.NoError(t, err)
	assert.Equal(t, []string{"found", "once"}, fill.AllZeros(b), "it has not looked yet")
	assert.Empty(t, fill.Zeros(b.Place))
	assert.Equal(t, Found{Namespace: b.Place.Namespace, TaskQueue: b.Place.TaskQueue}, foundAt(b.Place))
	assert.Equal(t, []string{"BoundAt", "VerifiedAt"}, fill.Zeros(fill.Of[Found]().binding()), "the database's clock says these")
	assert.Equal(t, []string{"MovedTo"}, fill.Zeros(recordOf(fill.Of[store.Installation]())), "only a move sets it")
}
