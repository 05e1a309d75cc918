// Package workflows holds Perennial's Temporal workflows. Register adds them to
// any worker; the activities are in package activities.
package workflows

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
)

// State is all that a connection's workflow carries over continue-as-new. The
// row is the truth but for its generation; the rest is for people.
type State struct {
	ConnectionID string `json:"connection_id"`
	// Revision is that of the program that started the run, see [life.changed].
	Revision int `json:"revision,omitempty"`
	// Generation is the highest that this workflow has seen. A row behind it went
	// backwards: what it says of its tokens is older than what was given out.
	Generation int64 `json:"generation,omitempty"`
	// Refreshes counts the refreshes seen since the workflow was first started.
	Refreshes int64 `json:"refreshes,omitempty"`
	// Recent are the last outcomes, oldest first, at most recentKept.
	Recent []RecentRefresh `json:"recent,omitempty"`
	// SetAside are token sets that could not be stored; see [life.setAside].
	SetAside []store.SaveRequest `json:"set_aside,omitempty"`
	// Dropped counts the messages with token sets that were no sets of the connection.
	Dropped int64 `json:"dropped,omitempty"`
	// Digested is until when the workflow has digests of what pacers did, by the
	// database's clock.
	Digested time.Time `json:"digested,omitzero"`
	// View is what the run before knew of the row, with the time of the next look
	// by the workflow's clock; nil: the row is read first.
	View *activities.View `json:"view,omitempty"`
	Next time.Time        `json:"next,omitzero"`
}

// Recent is one line of the card that ops read in the Temporal UI.
type RecentRefresh struct {
	At         time.Time         `json:"at"`
	Outcome    perennial.Outcome `json:"outcome"`
	Code       string            `json:"code,omitempty"`
	Generation int64             `json:"generation"`
}

const recentKept = 10

// NewState is the state a connection's workflow starts with.
func NewState(connectionID string) State {
	return State{ConnectionID: connectionID, Revision: revision}
}

// ID is the id of a connection's workflow, for ever.
func ID(connectionID string) string { return "connection/" + connectionID }

func (s *State) remember(r RecentRefresh) {
	s.Recent = append(s.Recent, r)
	if n := len(s.Recent); n > recentKept {
		s.Recent = append([]RecentRefresh(nil), s.Recent[n-recentKept:]...)
	}
}
