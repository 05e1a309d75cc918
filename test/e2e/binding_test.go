package e2e

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"google.golang.org/grpc"
)

// binding returns the binding of the stack's database to its Temporal, as the command line
// sees it.
func (s *stack) binding() *wiring.Binding {
	s.Helper()
	b, err := s.deps.BindingFor(s.Context(), s.client, s.environ())
	require.NoError(s, err)
	return b
}

// bind does what `perennial setup` does.
func (s *stack) bind() {
	s.Helper()
	f, wrote, err := s.binding().Setup(context.Background())
	require.NoError(s, err)
	require.True(s, wrote)
	require.Equal(s, wiring.Bound, f.State)
	_, wrote, err = s.binding().Setup(context.Background())
	require.NoError(s, err)
	require.False(s, wrote, "it may be repeated")
}

func (s *stack) state() wiring.BindingState {
	s.Helper()
	var f wiring.Found
	s.eventually("the database answers", func() (ok bool) { // a copy was made, which ends its sessions
		var err error
		f, err = s.binding().Look(context.Background())
		return err == nil
	})
	return f.State
}

// copyDatabase makes the PostgreSQL database to a copy of from. Copying ends all
// connections to both.
func (s *stack) copyDatabase(from, to string) {
	t := s.T
	t.Helper()
	u, err := url.Parse(from)
	require.NoError(t, err)
	source := strings.TrimPrefix(u.Path, "/")
	target, err := url.Parse(to)
	require.NoError(t, err)
	u.Path = "/postgres"
	admin, err := sql.Open("pgx", u.String())
	require.NoError(t, err)
	defer admin.Close()
	name := strings.TrimPrefix(target.Path, "/")
	_, err = admin.Exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
	require.NoError(t, err)
	for deadline := time.Now().Add(patience); ; { // a pool of the source may come back between the two
		_, _ = admin.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + source + "'")
		if _, err = admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + source); err == nil {
			break
		}
		require.True(t, time.Now().Before(deadline), "%v", err)
	}
	s.deps.DB.SQL.SetMaxIdleConns(0) // the test's own, which are dead
	s.deps.DB.SQL.SetMaxIdleConns(db.DefaultMaxOpen)
}

// over returns another installation with the same provider, keys and Temporal: with the
// database at url, and the task queue.
func (s *stack) over(url, queue string) *stack {
	s.Helper()
	ctx := context.Background()
	out := &stack{T: s.T, dir: s.TempDir(), url: url, provider: s.provider, address: s.address, logs: &safeBuffer{}}
	text, err := os.ReadFile(s.path)
	require.NoError(s, err)
	out.path = filepath.Join(out.dir, "perennial.yaml")
	changed := strings.NewReplacer(s.url, url, filepath.Join(s.dir, "spool"), filepath.Join(out.dir, "spool"),
		`task_queue: "`+s.deps.Config.TaskQueue+`"`, `task_queue: "`+queue+`"`).Replace(string(text))
	require.NoError(s, os.WriteFile(out.path, []byte(changed), 0o600))
	cfg, err := config.LoadEnviron(out.path, out.environ())
	require.NoError(s, err)
	log := slog.New(slog.NewJSONHandler(out.logs, nil))
	out.deps, err = wiring.Open(ctx, cfg, log)
	require.NoError(s, err)
	s.Cleanup(out.deps.Close)
	out.client = s.client
	out.updates = &connect.Temporal{Client: out.client, TaskQueue: queue}
	out.service = connect.New(connect.Config{Store: out.deps.Store, Apps: cfg, Sealer: out.deps.Keyring, Workflows: out.updates, Log: log})
	return out
}

// copied returns a running copy of the stack's database with a task queue.
func (s *stack) copied(queue string) *stack {
	s.Helper()
	to := testpg.URL(s)
	s.copyDatabase(s.url, to)
	return s.over(to, queue)
}

func (s *stack) sleeping(id string) {
	s.Helper()
	s.eventually("its workflow sleeps", func() bool { return s.execution(id) == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING })
}

var healthAt = regexp.MustCompile(`"health":"([^"]+)"`)

// healthy returns a function that asks the newest worker's /readyz.
func (s *stack) healthy() func() (status int, body string) {
	s.Helper()
	var address string
	s.eventually("it serves health checks", func() bool {
		all := healthAt.FindAllStringSubmatch(string(s.logs.Bytes()), -1)
		if len(all) > s.healths {
			address = all[len(all)-1][1]
		}
		return address != ""
	})
	return func() (int, string) {
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(s, err)
		return resp.StatusCode, string(body)
	}
}

// passed waits until the database's clock has passed at.
func (s *stack) passed(at time.Time) {
	s.Helper()
	s.eventually("the time has passed", func() bool {
		now, err := s.deps.Store.Now(context.Background())
		return err == nil && now.After(at)
	})
}

// TestForeignDatabase: the worker of another environment, with its own database and the
// same namespace and task queue, takes no task. It says what to do.
func TestForeignDatabase(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.bind()
	c := s.connect("ours", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	stop := s.work()
	_, err := connect.Refresh(t.Context(), s.updates, c, workflows.RefreshNow{IfGeneration: 1})
	require.NoError(t, err)
	stop()
	url := testpg.URL(t)
	empty, err := store.Open(t.Context(), url)
	require.NoError(t, err)
	_, _, err = empty.Migrate(t.Context())
	require.NoError(t, err)
	require.NoError(t, empty.Close())
	other := s.over(url, s.deps.Config.TaskQueue)

	require.NoError(t, s.updates.Signal(t.Context(), c, workflows.SignalNudge)) // a task for any worker that polls
	err = wiring.RunWorker(t.Context(), []string{"--config", other.path}, other.environ(), other.logs)
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
	require.ErrorContains(t, err, "perennial adopt --replace")
	err = wiring.RunServer(t.Context(), []string{"--config", other.path}, other.environ(), other.logs)
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
	_, _, err = other.binding().Setup(t.Context())
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "setup takes nothing from anybody")
	_, _, err = other.binding().Adopt(t.Context(), false, "")
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "neither does adopt, unless told what")
	assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.execution(c.ID))

	stop = s.work()
	reply, err := connect.Refresh(t.Context(), s.updates, c, workflows.RefreshNow{IfGeneration: 2})
	require.NoError(t, err)
	assert.EqualValues(t, 3, reply.Generation)
	stop()

	own, _, err := s.binding().Setup(t.Context())
	require.NoError(t, err)
	f, wrote, err := other.binding().Adopt(t.Context(), false, own.Installation.DatabaseID)
	require.NoError(t, err)
	assert.True(t, wrote)
	assert.Equal(t, wiring.Bound, f.State)
	assert.Equal(t, wiring.Foreign, s.state(), "its place was taken")
}

// TestForeignWhileRunning: a worker whose task queue is given to another database stops
// with an error.
func TestForeignWhileRunning(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.bind()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { ended <- wiring.RunWorker(ctx, []string{"--config", s.path}, s.environ(), s.logs) }()
	s.eventually("it works", func() bool { return strings.Contains(string(s.logs.Bytes()), "worker started") })
	_, err := s.deps.Store.Bind(t.Context(), store.Binding{NamespaceID: "moved", TaskQueue: "away"}, true)
	require.NoError(t, err)
	select {
	case err := <-ended:
		require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
	case <-time.After(patience):
		require.Fail(t, "it works on for a database that is no longer its own")
	}
}

// TestClone: a copy of the database presents nothing, wherever it runs, until somebody
// adopts it; then the original's workers of the old Temporal still have theirs.
func TestClone(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.bind()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 12, Rotate: true})
	stop := s.work()
	s.until(c.ID, "refreshed", generation(2))
	stop()
	staging := s.copied(s.deps.Config.TaskQueue + "-staging")
	require.Equal(t, wiring.Elsewhere, staging.state())
	_, _, err := staging.binding().Setup(t.Context())
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "setup adopts nothing")
	before := s.oracle("a1").Refreshes
	staging.work()
	at := staging.healthy()
	require.NoError(t, staging.updates.Signal(t.Context(), staging.get(c.ID), workflows.SignalNudge))
	status, body := at()
	assert.Equal(t, 503, status)
	assert.Contains(t, body, "perennial adopt")
	copyRow := staging.get(c.ID)
	staging.passed(copyRow.ExpiresAt)
	assert.Equal(t, before, s.oracle("a1").Refreshes, "nothing was presented")

	f, wrote, err := staging.binding().Adopt(t.Context(), false, "")
	require.NoError(t, err)
	assert.True(t, wrote)
	require.Len(t, f.Installation.Bindings, 1)
	// In one namespace the workflow's id is the same: the original's ends first.
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), workflows.ID(c.ID), "", "moved"))
	require.NoError(t, staging.updates.Signal(t.Context(), copyRow, workflows.SignalNudge))
	staging.until(c.ID, "refreshed after adopt", generation(copyRow.Generation+1))
	status, _ = at()
	assert.Equal(t, 200, status)
	assert.Equal(t, wiring.Bound, s.state(), "the original has its own id")
	all, now, err := staging.deps.Store.Processes(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.True(t, all[0].Alive(now))
	assert.Equal(t, []string{wiring.KindWorker, staging.deps.Config.TaskQueue}, []string{all[0].Kind, all[0].TaskQueue})
	assert.Len(t, all[0].Keys, 2)
}

// TestLookBesideASweep: a sweep that raises both numbers while a process looks does not
// make the database look restored.
func TestLookBesideASweep(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.bind()
	options := client.Options{HostPort: s.address, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))}
	raised := 0
	options.ConnectionOptions.DialOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasSuffix(method, "/DescribeSchedule") { // between the two reads of the look, whichever comes first
				raised++
				if err := s.binding().Raise(ctx); err != nil {
					return err
				}
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})}
	t1, err := client.DialContext(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(t1.Close)
	b, err := s.deps.BindingFor(t.Context(), t1, s.environ())
	require.NoError(t, err)
	f, err := b.Inspect(t.Context())
	require.NoError(t, err)
	assert.Equal(t, wiring.Bound, f.State, f.Reason)
	assert.Equal(t, 1, raised)
}

// TestBeside: two Temporals of one database are legal and listed.
func TestBeside(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.bind()
	green := s.over(s.url, s.deps.Config.TaskQueue+"-green")
	require.Equal(t, wiring.Elsewhere, green.state())
	f, _, err := green.binding().Adopt(t.Context(), true, "")
	require.NoError(t, err)
	assert.Len(t, f.Installation.Bindings, 2)
	assert.Equal(t, []wiring.BindingState{wiring.Bound, wiring.Bound}, []wiring.BindingState{s.state(), green.state()})
	for range 3 {
		require.NoError(t, s.binding().Raise(t.Context()))
		require.NoError(t, green.binding().Raise(t.Context()))
	}
	assert.Equal(t, []wiring.BindingState{wiring.Bound, wiring.Bound}, []wiring.BindingState{s.state(), green.state()})
}

// TestRestore: after a restore beneath a running worker nothing is presented until
// `perennial restored`; then each token is presented once more, and no generation is
// given twice.
func TestRestore(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplayReusable})
	s.bind()
	_, err := workflows.SetupSweep(t.Context(), s.client, s.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	s.endSweep()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 12})
	backup := testpg.URL(t)
	s.copyDatabase(s.url, backup)
	stop := s.work()
	s.until(c.ID, "refreshed", generation(2))
	s.eventually("the sweep raises the number on both sides", func() bool {
		f, err := s.binding().Look(t.Context())
		return err == nil && f.Installation.Number >= 2 && f.Record != nil && f.Record.Number >= 2
	})
	stop()
	s.copyDatabase(backup, s.url)
	s.healths = len(healthAt.FindAllString(string(s.logs.Bytes()), -1))
	require.Equal(t, wiring.Behind, s.state())
	require.EqualValues(t, 1, s.get(c.ID).Generation)
	before := s.oracle("a1").Refreshes
	s.work()
	at := s.healthy()
	status, body := at()
	assert.Equal(t, 503, status)
	assert.Contains(t, body, "perennial restored")
	s.passed(s.get(c.ID).ExpiresAt)
	assert.Equal(t, before, s.oracle("a1").Refreshes, "nothing was presented")

	_, _, err = s.binding().Adopt(t.Context(), false, "")
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "a copy on the original's task queue cannot take it")
	f, marked, err := s.binding().Restored(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1, marked)
	assert.Equal(t, wiring.Bound, f.State)
	after := s.until(c.ID, "refreshed after restored", generation(1000))
	assert.Equal(t, perennial.StatusActive, after.Status)
}

// TestRestoreWhileRunning: a worker that is connected sees within seconds that the
// database beneath it went backwards.
func TestRestoreWhileRunning(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplayReusable})
	s.bind()
	backup := testpg.URL(t)
	s.copyDatabase(s.url, backup)
	for range 3 {
		require.NoError(t, s.binding().Raise(t.Context()))
	}
	s.work()
	at := s.healthy()
	s.eventually("it is ready", func() bool { status, _ := at(); return status == 200 })
	s.copyDatabase(backup, s.url)
	s.eventually("it is not ready", func() bool {
		status, body := at()
		return status == 503 && strings.Contains(body, "perennial restored")
	})
}

// TestTemporalAwayAtStart: while Temporal does not answer, what was verified last
// decides, by the address that a process uses.
func TestTemporalAwayAtStart(t *testing.T) {
	t.Parallel()
	server, err := startTemporal(t.TempDir(), 0, 0)
	require.NoError(t, err)
	s := setup(t, setting{address: server.Address, class: perennial.ReplaySingleUse})
	s.bind()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	require.Equal(t, wiring.Bound, s.state())
	require.NoError(t, server.Kill())
	for address, want := range map[string]wiring.BindingState{server.Address: wiring.Bound, "127.0.0.1:1": wiring.Elsewhere} {
		lazy, err := client.NewLazyClient(client.Options{HostPort: address, Logger: nil})
		require.NoError(t, err)
		t.Cleanup(lazy.Close)
		b, err := s.deps.BindingFor(t.Context(), lazy, []string{"TEMPORAL_ADDRESS=" + address})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		f, err := b.Look(ctx)
		cancel()
		require.NoError(t, err)
		assert.Equal(t, want, f.State, address)
		_, _, err = b.Adopt(t.Context(), false, "")
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err), "nobody adopts blindly")

		config := s.deps.EngineConfig()
		config.MayPresent = b.MayPresent
		fallback := &refresh.Fallback{Engine: refresh.New(config), Rows: s.deps.Store, Apps: s.deps.Config}
		res, err := fallback.Refresh(t.Context(), s.get(c.ID), func(func()) {})
		if want == wiring.Bound {
			require.NoError(t, err)
			assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
		} else {
			require.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
		}
	}
	assert.Equal(t, 1, s.oracle("a1").Refreshes)
}

// TestMissingRow: a row that somebody deleted does not end its workflow, which shows
// that. A tombstone does.
func TestMissingRow(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.bind()
	s.work()
	c := s.connect("gone", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	s.sleeping(c.ID)
	db, err := sql.Open("pgx", s.url)
	require.NoError(t, err)
	defer db.Close()
	_, err = s.command(nil, "end-missing", c.ID, "--yes")
	assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "its row is there")
	_, err = s.command(nil, "end-missing", "con_other", "--yes")
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
	_, err = db.Exec("DELETE FROM connections WHERE id = $1", c.ID)
	require.NoError(t, err)
	_, err = s.command(nil, "end-missing", c.ID)
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "it asks")
	require.NoError(t, s.updates.Signal(t.Context(), c, workflows.SignalNudge))
	var shown workflows.StatusReply
	s.eventually("it is shown", func() bool {
		v, err := s.client.QueryWorkflow(t.Context(), workflows.ID(c.ID), "", workflows.QueryStatus)
		return err == nil && v.Get(&shown) == nil && shown.Missing
	})
	assert.Equal(t, activities.StatusMissing, shown.Status)
	assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.execution(c.ID))
	// A database that went backwards: the row may come with the rest of the restore.
	_, err = db.Exec("UPDATE installation SET number = number - 1000000")
	require.NoError(t, err)
	_, err = s.command(nil, "end-missing", c.ID, "--yes")
	assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "%v", err)
	_, err = db.Exec("UPDATE installation SET number = number + 1000000")
	require.NoError(t, err)
	s.commanded(nil, "end-missing", c.ID, "--yes")
	s.eventually("it ends", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED })
}
