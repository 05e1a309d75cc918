package e2e

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/examples/ownprograms/platform"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
)

const codecAuth = "Bearer planted-codec-key"

// codecServer is a codec server that can be away.
type codecServer struct {
	*httptest.Server
	away atomic.Bool
	slow atomic.Int64 // so many calls of /decode take slowCall
}

// slowCall is longer than the SDK's deadlock detector waits for a workflow.
const slowCall = 1500 * time.Millisecond

func startCodecServer(t *testing.T) *codecServer {
	t.Helper()
	codec, err := platform.NewCodec(payloadKey)
	require.NoError(t, err)
	handler := converter.NewPayloadCodecHTTPHandler(codec)
	c := &codecServer{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case c.away.Load():
			http.Error(w, "planted-text-of-the-codec-server", http.StatusServiceUnavailable)
		case r.Header.Get("Authorization") != codecAuth || r.Header.Get("X-Namespace") != "default":
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			if strings.HasSuffix(r.URL.Path, "/decode") && c.slow.Add(-1) >= 0 {
				time.Sleep(slowCall)
			}
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func setupCodecServer(t *testing.T, more string) (*stack, *codecServer) {
	t.Helper()
	c := startCodecServer(t)
	s := setup(t, setting{class: perennial.ReplaySingleUse, environ: []string{"CODEC_AUTH=" + codecAuth},
		top: "\ntemporal_codec_endpoint: " + c.URL + "\ntemporal_codec_auth_env: CODEC_AUTH" + more})
	t.Cleanup(func() {
		assert.NotContains(t, string(s.logs.Bytes()), codecAuth)
		assert.NotContains(t, string(s.logs.Bytes()), "planted-text")
	})
	return s, c
}

// TestCodecServer: the shipped programs with a codec server: everything works, and
// Temporal holds nothing readable.
func TestCodecServer(t *testing.T) {
	t.Parallel()
	s, _ := setupCodecServer(t, fastSweep)
	s.commanded(nil, "setup")
	s.endSweep()
	s.work()
	s.wholeLife(s.remote(s.serve()).Backend.Refresh)
}

// TestSlowCodecServer: a call that takes longer than a workflow may compute fails no
// workflow task.
func TestSlowCodecServer(t *testing.T) {
	t.Parallel()
	s, codec := setupCodecServer(t, "")
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 10, Rotate: true})
	s.eventually("it sleeps", func() bool { return s.asleep(c.ID) })
	codec.slow.Store(1)
	s.until(c.ID, "it is refreshed", generation(2))
	s.eventually("it sleeps again", func() bool { return s.asleep(c.ID) })
	assert.Negative(t, codec.slow.Load(), "a call was slow")
	for _, h := range s.histories(c.ID) {
		for _, e := range h.Events {
			assert.NotEqual(t, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED, e.EventType)
		}
	}
}

// TestCodecServerAway: meanwhile the worker and the server refresh without Temporal, the
// command line says what is wrong, and the workflow goes on afterwards.
func TestCodecServerAway(t *testing.T) {
	t.Parallel()
	s, codec := setupCodecServer(t, "")
	s.work()
	remote := s.remote(s.serve())
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 10, Rotate: true})
	long := s.connect("a2", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	s.eventually("both sleep", func() bool { return s.asleep(c.ID) && s.asleep(long.ID) })

	codec.away.Store(true)
	_, err := s.command(nil, "refresh", long.ID)
	require.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
	require.ErrorContains(t, err, "the codec server answers with HTTP status 503")
	require.NotContains(t, err.Error(), "planted-text")
	require.NoError(t, remote.Backend.Refresh(t.Context(), long.ID, long.Generation))
	assert.Equal(t, long.Generation+1, s.get(long.ID).Generation, "the server refreshed it")
	before := s.get(c.ID).Generation
	s.until(c.ID, "the worker refreshes it by itself, more than once", generation(before+2))

	codec.away.Store(false)
	after := s.get(c.ID).Generation
	s.resumes(c.ID, after+1)
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	assert.Zero(t, s.oracle("a2").ConsumedPresentations)
}

// resumes waits until a connection's workflow, whose task may wait for its next try, has
// seen a generation.
func (s *stack) resumes(id string, want int64) {
	s.Helper()
	require.Eventually(s, func() bool {
		v, err := s.client.QueryWorkflow(s.Context(), workflows.ID(id), "", workflows.QueryStatus)
		var got workflows.StatusReply
		return err == nil && v.Get(&got) == nil && got.Generation >= want
	}, 3*time.Minute, 200*time.Millisecond)
}

// TestTokenSetWhileTheCodecIsAway: a token set that neither the store nor the workflow
// takes waits in the spool, and is stored although the codec stays away.
func TestTokenSetWhileTheCodecIsAway(t *testing.T) {
	t.Parallel()
	s, codec := setupCodecServer(t, "")
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true, LatencyAfterMS: 1000})
	db, err := sql.Open("pgx", s.url)
	require.NoError(t, err)
	defer db.Close()
	s.eventually("the provider rotated the token", func() bool { return s.oracle("a1").Refreshes == 1 })
	codec.away.Store(true)
	_, err = db.Exec("ALTER TABLE connections RENAME TO away")
	require.NoError(t, err)
	spooled := func() bool {
		sets, err := filepath.Glob(filepath.Join(s.dir, "spool", "*.sealed"))
		require.NoError(t, err)
		return len(sets) > 0
	}
	s.eventually("the set is in the spool", spooled)
	require.NoError(t, s.provider.SetKnobs(clientID, "a1", fakeprovider.Knobs{LifetimeSeconds: 20, Rotate: true}))
	_, err = db.Exec("ALTER TABLE away RENAME TO connections")
	require.NoError(t, err)
	got := s.until(c.ID, "the set is stored", generation(2))
	s.eventually("the spool is empty", func() bool { return !spooled() })
	assert.Equal(t, perennial.StatusActive, got.Status)
	codec.away.Store(false)
	s.resumes(c.ID, got.Generation+1)
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
}
