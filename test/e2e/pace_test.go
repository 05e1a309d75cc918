package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
)

// outcomes counts the refreshes in a connection's histories, those of local activities
// and those of activities.
func outcomes(histories []*historypb.History) (refreshed int, generations map[string]bool) {
	generations = map[string]bool{}
	note := func(payload []byte) {
		text := string(payload)
		if _, after, ok := strings.Cut(text, `"outcome":"refreshed"`); ok {
			refreshed++
			_, number, _ := strings.Cut(after, `"generation":`)
			generations[strings.FieldsFunc(number, func(r rune) bool { return r < '0' || r > '9' })[0]] = true
		}
	}
	for _, h := range histories {
		for _, e := range h.Events {
			if a := e.GetActivityTaskCompletedEventAttributes(); a != nil {
				for _, p := range a.GetResult().GetPayloads() {
					note(p.Data)
				}
			}
			if a := e.GetMarkerRecordedEventAttributes(); a != nil {
				for _, p := range a.Details["result"].GetPayloads() {
					note(p.Data)
				}
			}
		}
	}
	return refreshed, generations
}

// TestOwnPaceShowsEachRefresh: a connection's histories show as many refreshes as it
// gained generations, each with its generation.
func TestOwnPaceShowsEachRefresh(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.work()
	c := s.connect("shown", fakeprovider.Knobs{LifetimeSeconds: 4, Rotate: true})
	s.until(c.ID, "four refreshes", generation(5))
	_, err := s.service.Pause(t.Context(), perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	gained := int(s.get(c.ID).Generation) - 1
	s.eventually("the history shows them", func() bool {
		n, generations := outcomes(s.histories(c.ID))
		return n == gained && len(generations) == gained
	})
	for _, h := range s.histories(c.ID) {
		for _, e := range h.Events {
			require.NotEqual(t, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, e.EventType, "a steady connection needs no activity")
		}
	}
}

// TestPooledPace: pacers refresh the healthy connections of a pooled app. A revoked one
// goes to its own workflow, which does not wake for the others.
func TestPooledPace(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse, extra: ", pace: pooled, pacers: 2"})
	stop := s.work()
	var healthy []perennial.Connection
	for i := range 12 {
		healthy = append(healthy, s.connect(fmt.Sprintf("pooled %d", i), fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true}))
	}
	revoked := s.connect("revoked", fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true})
	for _, c := range healthy {
		s.until(c.ID, "three refreshes", generation(4))
	}
	require.NoError(t, s.provider.Revoke(clientID, "revoked"))
	got := s.until(revoked.ID, "told to reconnect", status(perennial.StatusReconnectRequired))
	assert.Equal(t, perennial.ReasonInvalidGrant, got.Reason)
	for _, c := range healthy {
		n, _ := outcomes(s.histories(c.ID))
		assert.LessOrEqual(t, n, 1, "its own workflow does not refresh it")
		g := s.oracle(c.AccountID)
		assert.Zero(t, g.ConsumedPresentations)
		assert.Equal(t, 1, g.MostInFlight)
	}
	digest := s.digestOf(healthy[0].ID)
	assert.Positive(t, digest)

	// Back to pace own during operation: nothing is lost, and the pacers end.
	stop()
	raw, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path, []byte(strings.Replace(string(raw), ", pace: pooled, pacers: 2", "", 1)), 0o600))
	s.work()
	_, err = workflows.SetupSweep(t.Context(), s.client, s.deps.Config.TaskQueue, shortSweep)
	require.NoError(t, err)
	s.endSweep()
	for _, c := range healthy {
		from := s.get(c.ID).Generation
		s.until(c.ID, "refreshed by its own workflow", generation(from+2))
		assert.Zero(t, s.oracle(c.AccountID).ConsumedPresentations)
	}
	for n := range 2 {
		s.eventually("the pacer ends", func() bool {
			d, err := s.client.DescribeWorkflowExecution(t.Context(), workflows.PacerID(s.deps.Config.TaskQueue, "app", n, 2), "")
			require.NoError(t, err)
			return d.WorkflowExecutionInfo.Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
		})
		s.replayRuns(workflows.PacerID(s.deps.Config.TaskQueue, "app", n, 2), fmt.Sprintf("pacer-%d", n))
	}
}

// digestOf nudges the connection's workflow. It returns how many generations were
// gained by the digests in its history.
func (s *stack) digestOf(id string) (gained int) {
	s.Helper()
	want := s.get(id).RefreshCount
	require.NoError(s, s.updates.Signal(s.Context(), s.get(id), workflows.SignalNudge))
	s.eventually("the digest is written", func() bool {
		gained = 0
		for _, h := range s.histories(id) {
			for _, e := range h.Events {
				a := e.GetMarkerRecordedEventAttributes()
				if a == nil {
					continue
				}
				for _, p := range a.Details["result"].GetPayloads() {
					if _, digest, ok := strings.Cut(string(p.Data), `"digest":`); ok {
						_, number, _ := strings.Cut(digest, `"refreshed":`)
						var n int
						_, err := fmt.Sscanf(number, "%d", &n)
						require.NoError(s, err)
						gained += n
					}
				}
			}
		}
		return int64(gained) >= want
	})
	return gained
}
