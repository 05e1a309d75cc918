package client

import (
	"time"

	"github.com/perennial-oauth/perennial"
)

// memoryLasts is for how long what was loaded is used without asking again.
const memoryLasts = time.Minute

// endedLasts is the same where the grant has ended: what is left of it is not worth
// much, and the customer may have reconnected.
const endedLasts = 2 * time.Second

// leastShare: no more than this part of a token's life is asked to be left.
const minShare = 10

// forever stands for an expiry that nobody knows.
const forever = time.Duration(1<<63 - 1)

// snapshot is a connection as it was loaded. It is never changed.
//
// Everything is measured from loaded, when the load began, by durations that
// the backend's clock gave: so no clock of this process is compared with one of
// another, and as the backend read its clock later, nothing is thought to live
// longer than it does.
type snapshot struct {
	token  Token
	state  TokenState
	loaded time.Time

	left    time.Duration // to the expiry; forever: not known
	minLife time.Duration // that is asked to be left: MinTTL
	fresh   time.Duration // for how long memory answers
}

// take makes a snapshot of what a load that began at began brought.
func take(id string, h TokenState, began time.Time, minTTL time.Duration) *snapshot {
	s := &snapshot{state: h, loaded: began, left: forever, fresh: memoryLasts}
	s.token = Token{Access: h.Access, Type: perennial.TokenTypeBearer, Generation: h.Generation, Connection: id, Account: h.Account, Status: h.Status, Reason: h.Reason}
	if !h.ExpiresAt.IsZero() {
		s.left = h.ExpiresAt.Sub(h.Now)
		s.token.ExpiresAt = began.Add(s.left).Round(0)
		if life := h.ExpiresAt.Sub(h.RefreshedAt); !h.RefreshedAt.IsZero() && life > 0 {
			s.minLife = min(minTTL, life/minShare)
		}
		s.fresh = min(s.fresh, s.left-s.minLife)
	}
	if !h.DueAt.IsZero() {
		s.fresh = min(s.fresh, h.DueAt.Sub(h.Now))
	}
	if h.Status == perennial.StatusReconnectRequired {
		s.fresh = min(s.fresh, endedLasts)
	}
	if h.KillsAccess {
		s.fresh = 0
	}
	return s
}

// elapsed is how long ago the snapshot was loaded. Where the wall clock and the
// monotonic one disagree, since the machine slept or its clock was set, the
// longer time counts: asking once too often costs nothing.
func (s *snapshot) elapsed(now time.Time) time.Duration {
	return max(now.Sub(s.loaded), time.Duration(now.UnixNano()-s.loaded.UnixNano()))
}

// remains is what is left of the token's life.
func (s *snapshot) remains(elapsed time.Duration) time.Duration {
	if s.left == forever {
		return forever
	}
	return s.left - elapsed
}

// usable reports whether the token may be handed out at all: it lives, is newer
// than beyond, and its connection's status allows it. What is left of an ended
// grant does.
func (s *snapshot) usable(elapsed time.Duration, beyond int64) bool {
	return s.token.Generation > beyond && s.remains(elapsed) > 0 && !s.token.Access.IsZero() &&
		(s.state.Status == perennial.StatusActive || s.state.Status == perennial.StatusReconnectRequired)
}

// enough reports whether the token has as much life left as is promised.
func (s *snapshot) enough(elapsed time.Duration, beyond int64) bool {
	return s.usable(elapsed, beyond) && s.remains(elapsed) >= s.minLife
}

// here turns a time of the backend's clock into one of this process's.
func (s *snapshot) here(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return s.loaded.Add(t.Sub(s.state.Now)).Round(0)
}
