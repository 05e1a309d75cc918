package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/perennial-oauth/perennial/store"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
)

// UnsavedSets reads the history of a connection's workflow and returns the token sets in
// it that a refresh could not store, also those that the workflow has set aside. It needs
// no worker. Some may be stored by now, or be none of the connection's: refresh.Engine's
// Persist tells. A connection without a workflow has none. An error means that the
// history could not be read, as when the platform team's workers encrypt it.
func UnsavedSets(ctx context.Context, c client.Client, id string) (sets []store.SaveRequest, err error) {
	events := c.GetWorkflowHistory(ctx, ID(id), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if missing := (*serviceerror.NotFound)(nil); errors.As(err, &missing) {
			return nil, nil
		}
		if err == nil {
			sets, err = appendSets(sets, event, id)
		}
		if err != nil {
			return nil, fmt.Errorf("read the history of workflow %s: %w", ID(id), err)
		}
	}
	return sets, nil
}

// appendSets appends the sets of one event that name the connection.
func appendSets(sets []store.SaveRequest, event *historypb.HistoryEvent, id string) ([]store.SaveRequest, error) {
	var found []store.SaveRequest
	var err error
	switch {
	case event.GetWorkflowExecutionStartedEventAttributes() != nil:
		var s State
		started := event.GetWorkflowExecutionStartedEventAttributes()
		err = decode(started.Input, &s)
		if started.ContinuedExecutionRunId == "" {
			err = believed(err)
		}
		found = s.SetAside
	case event.GetActivityTaskCompletedEventAttributes() != nil:
		var res struct {
			Unsaved store.SaveRequest `json:"unsaved"` // of a [activities.RefreshResult]
		}
		err = decode(event.GetActivityTaskCompletedEventAttributes().Result, &res)
		found = append(found, res.Unsaved)
	case event.GetWorkflowExecutionSignaledEventAttributes().GetSignalName() == SignalUnsaved:
		var m unsavedMessage
		err = believed(decode(event.GetWorkflowExecutionSignaledEventAttributes().Input, &m))
		found = append(found, m.set)
	}
	for _, set := range found {
		if set.ID == id {
			sets = append(sets, set)
		}
	}
	if err != nil {
		err = fmt.Errorf("event %d: %w", event.EventId, err)
	}
	return sets, err
}

// errShape says that a payload is JSON of another shape.
var errShape = errors.New("its payload has an unknown shape")

// believed forgives a shape that is none of ours: every client may send a message or
// start a workflow. Only a worker writes results, and the input of a run that continues
// another; there an unknown shape may hide a set.
func believed(err error) error {
	if errors.Is(err, errShape) {
		return nil
	}
	return err
}

// decode decodes the first payload into v. It returns [errShape] if that is JSON of
// another shape, and another error if it is encrypted or otherwise encoded.
func decode(payloads *commonpb.Payloads, v any) error {
	if len(payloads.GetPayloads()) == 0 {
		return nil
	}
	p := payloads.Payloads[0]
	switch encoding := string(p.Metadata[converter.MetadataEncoding]); encoding {
	case converter.MetadataEncodingJSON:
		if err := json.Unmarshal(p.Data, v); err != nil {
			return errShape // the error's text may repeat the payload
		}
		return nil
	case converter.MetadataEncodingNil:
		return nil
	default:
		return fmt.Errorf("its payload has the encoding %q", encoding)
	}
}
