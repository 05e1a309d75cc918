package workflows

import (
	"encoding/json"
	"testing"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"
)

// The kinds of events that may carry a token set.
var carriers = map[string]func(*commonpb.Payloads) *historypb.HistoryEvent{
	"start": func(p *commonpb.Payloads) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
			WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: p}}}
	},
	"result": func(p *commonpb.Payloads) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskCompletedEventAttributes{
			ActivityTaskCompletedEventAttributes: &historypb.ActivityTaskCompletedEventAttributes{Result: p}}}
	},
	SignalUnsaved: func(p *commonpb.Payloads) *historypb.HistoryEvent { return signalled(SignalUnsaved, p) },
	SignalNudge:   func(p *commonpb.Payloads) *historypb.HistoryEvent { return signalled(SignalNudge, p) },
}

func signalled(name string, p *commonpb.Payloads) *historypb.HistoryEvent {
	return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_WorkflowExecutionSignaledEventAttributes{
		WorkflowExecutionSignaledEventAttributes: &historypb.WorkflowExecutionSignaledEventAttributes{SignalName: name, Input: p}}}
}

// TestSetsOfEvents: every way by which a token set comes into a workflow's history is
// read. Another connection's, and what is none of our messages, counts for nothing.
// What cannot be read is an error: a set may be in it.
func TestSetsOfEvents(t *testing.T) {
	t.Parallel()
	own, foreign := store.SaveRequest{ID: "con_1", NewGeneration: 4, Seal: []byte("seal")}, store.SaveRequest{ID: "con_2", NewGeneration: 9}
	encrypted := &commonpb.Payloads{Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{converter.MetadataEncoding: []byte("binary/encrypted")}, Data: []byte("x")}}}
	for name, c := range map[string]struct {
		in   string
		sent any
		want []store.SaveRequest
	}{
		"set aside":                 {"start", State{ConnectionID: "con_1", SetAside: []store.SaveRequest{own, foreign}, Refused: []store.SaveRequest{own}}, []store.SaveRequest{own}},
		"a first run":               {"start", NewState("con_1"), nil},
		"a refresh's result":        {"result", activities.RefreshResult{Unsaved: &own}, []store.SaveRequest{own}},
		"a refresh that was stored": {"result", activities.RefreshResult{Outcome: "refreshed"}, nil},
		"a read":                    {"result", activities.View{}, nil},
		"a message":                 {SignalUnsaved, own, []store.SaveRequest{own}},
		"another's message":         {SignalUnsaved, foreign, nil},
		"rubbish":                   {SignalUnsaved, []int{1}, nil},
		"nothing":                   {SignalUnsaved, nil, nil},
		"another signal":            {SignalNudge, own, nil},
	} {
		p, err := converter.GetDefaultDataConverter().ToPayloads(c.sent)
		require.NoError(t, err)
		got, err := appendSets(nil, carriers[c.in](p), "con_1")
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got, name)
		_, err = appendSets(nil, carriers[c.in](encrypted), "con_1")
		assert.Equal(t, c.in != SignalNudge, err != nil, name)
	}
	rubbish, err := converter.GetDefaultDataConverter().ToPayloads([]int{1})
	require.NoError(t, err)
	_, err = appendSets(nil, carriers["result"](rubbish), "con_1")
	require.ErrorIs(t, err, errShape, "only a worker writes a result: a set may be in it")
	_, err = appendSets(nil, carriers["start"](rubbish), "con_1")
	require.NoError(t, err, "every client may start a workflow")
	continued := carriers["start"](rubbish)
	continued.GetWorkflowExecutionStartedEventAttributes().ContinuedExecutionRunId = "run"
	_, err = appendSets(nil, continued, "con_1")
	require.ErrorIs(t, err, errShape, "a worker has written this input")
	got, err := appendSets([]store.SaveRequest{own}, &historypb.HistoryEvent{}, "con_1")
	require.NoError(t, err)
	assert.Equal(t, []store.SaveRequest{own}, got, "other events")
}

// FuzzSetsOfEvents: no payload makes the reading panic or finds another connection's set.
func FuzzSetsOfEvents(f *testing.F) {
	whole, err := json.Marshal(State{ConnectionID: "con_1", SetAside: []store.SaveRequest{{ID: "con_1", NewGeneration: 4}}})
	require.NoError(f, err)
	f.Add("json/plain", whole)
	f.Add("json/plain", []byte(`{"ID":"con_1","unsaved":{"ID":"con_1"}}`))
	f.Add("json/plain", []byte(`{"set_aside":[{"ID":7},null],"unsaved":null}`))
	f.Add("binary/null", []byte(nil))
	f.Add("", []byte("\xff"))
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		p := &commonpb.Payloads{Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encoding)}, Data: data}}}
		for _, event := range carriers {
			sets, err := appendSets(nil, event(p), "con_1")
			if err != nil && len(sets) > 0 {
				t.Fatal("sets of an event that cannot be read")
			}
			for _, set := range sets {
				if set.ID != "con_1" {
					t.Fatalf("another's set: %q", set.ID)
				}
			}
		}
	})
}
