package provider

import (
	"cmp"
	"time"

	"github.com/perennial-oauth/perennial"
)

// GraceReply says what a provider answers if an old refresh token is presented again
// within its grace window.
type GraceReply string

// The answers. One that is not documented counts as new_pair: then two attempts that
// live at once may get two token sets, one of which is dead.
const (
	GraceSamePair GraceReply = "same_pair"
	GraceNewPair  GraceReply = "new_pair"
)

// graceMargin is the part of a grace window, at its end, in which nothing is presented as
// if the window were open: the request must arrive within it.
const graceMargin = 20

// GraceEnds returns when the grace window is over for a refresh token that was first
// sent at since.
func (e Entry) GraceEnds(since time.Time) time.Time {
	return since.Add(e.GraceWindow - e.GraceWindow/graceMargin)
}

// Later returns the replay class of an old refresh token after the grace window. What is
// not documented counts as the costlier: a replay then ends the grant.
func (e Entry) Later() perennial.ReplayClass {
	return cmp.Or(e.AfterGrace, perennial.ReplayReuseRevokes)
}

// At returns the entry as it counts at now for a refresh token that was first sent at
// since: one with a grace window that is over has the class after it.
func (e Entry) At(since, now time.Time) Entry {
	if e.ReplayClass == perennial.ReplayGrace && !now.Before(e.GraceEnds(since)) {
		e.ReplayClass = e.Later()
	}
	return e
}
