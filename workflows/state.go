package workflows

import (
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
)

// State is everything that a connection's workflow carries over continue-as-new. The
// row is the truth for all but the generation; the rest is for people.
type State struct {
	ConnectionID string `json:"connection_id"`
	// Revision is that of the run's steps, see [run.changed]. A first run does not believe
	// it, see [run.settle].
	Revision int `json:"revision,omitempty"`
	// Generation is the highest that this workflow has seen. A row behind it went
	// backwards: its tokens are older than those already given out.
	Generation int64 `json:"generation,omitempty"`
	// Refreshes counts the refreshes seen since the workflow was first started.
	Refreshes int64 `json:"refreshes,omitempty"`
	// Recent holds the last outcomes, oldest first, at most recentKept.
	Recent []RecentRefresh `json:"recent,omitempty"`
	// SetAside holds token sets that could not be stored; see [run.setAside].
	SetAside []store.SaveRequest `json:"set_aside,omitempty"`
	// Shown has the search attributes as this workflow last set them, by name.
	Shown map[string]string `json:"shown,omitempty"`
	// Refused holds the first few sets that are not the connection's; see [run.refuse].
	Refused []store.SaveRequest `json:"refused,omitempty"`
	// Dropped counts the messages that were not token sets of the connection.
	Dropped int64 `json:"dropped,omitempty"`
	// Looks counts, in a row, the reads that did not find the connection's row.
	Looks int `json:"looks,omitempty"`
	// Digested is the end of the period that the summaries of the pacers' work cover,
	// by the database's clock.
	Digested time.Time `json:"digested,omitzero"`
	// View is what the run before knew of the row, and Next the time of its next wake
	// by the workflow's clock. If View is nil, the run reads the row first.
	View *activities.View `json:"view,omitempty"`
	Next time.Time        `json:"next,omitzero"`
}

// RecentRefresh is one line of the summary that ops read in the Temporal UI.
type RecentRefresh struct {
	At         time.Time         `json:"at"`
	Outcome    perennial.Outcome `json:"outcome"`
	Code       string            `json:"code,omitempty"`
	Generation int64             `json:"generation"`
	// Reported is the trigger of a refresh that a product's report caused, else empty.
	Reported perennial.Trigger `json:"reported,omitempty"`
}

const recentKept = 10

// NewState returns the state that a connection's workflow starts with.
func NewState(connectionID string) State {
	return State{ConnectionID: connectionID, Revision: baseRevision}
}

// bounded returns the state within the bounds that a run keeps to.
func (s State) bounded() State {
	s.Revision, s.Generation = max(s.Revision, 0), max(s.Generation, 0)
	s.Refreshes, s.Dropped = max(s.Refreshes, 0), max(s.Dropped, 0)
	s.Recent = s.Recent[max(len(s.Recent)-recentKept, 0):]
	s.SetAside = s.SetAside[:min(len(s.SetAside), maxSetAside)]
	s.Refused = s.Refused[:min(len(s.Refused), maxRefused)]
	return s
}

// changeBoundShown: before it, a run passed everything on that its start said of search
// attributes, and ended if that was too long for the next run.
var changeBoundShown = change{"bound-shown", 2}

// maxShown is the longest value of a search attribute, in bytes; Temporal's own bound.
const maxShown = 2 << 10

// plausible reports whether a workflow can have set these search attributes. If not, it
// forgets them, and sets those that differ from the row.
func plausible(shown map[string]string) bool {
	known := AttributeNames()
	names := slices.Sorted(maps.Keys(shown)) //workflowcheck:ignore -- they are sorted
	for _, name := range names {
		if len(shown[name]) > maxShown || !slices.Contains(known, name) {
			return false
		}
	}
	return true
}

// ID returns the id of a connection's workflow. It never changes.
func ID(connectionID string) string { return "connection/" + connectionID }

func (s *State) remember(r RecentRefresh) {
	s.Recent = append(s.Recent, r)
	if n := len(s.Recent); n > recentKept {
		s.Recent = append([]RecentRefresh(nil), s.Recent[n-recentKept:]...)
	}
}
