package client

import (
	"time"

	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/client/words"
)

// memoryLasts is how long memory answers without a new load.
const memoryLasts = time.Minute

// endedLasts is the same for an ended grant: the rest of its token is worth little, and
// the customer may have reconnected.
const endedLasts = 2 * time.Second

// snapshot is a connection as loaded. It never changes.
//
// All times are durations since loaded, the start of the load, and the backend's clock
// gave them. So no clock of this process is compared with another's. Because the
// backend read its clock later, nothing seems to live longer than it does.
type snapshot struct {
	token  Token
	state  TokenState
	loaded time.Time

	minTTL time.Duration // the remaining life that callers want
	fresh  time.Duration // how long memory answers
}

// take makes a snapshot of a state whose load started at began.
func take(id string, h TokenState, began time.Time, minTTL time.Duration) *snapshot {
	s := &snapshot{state: h, loaded: began, minTTL: minTTL, fresh: memoryLasts}
	s.token = Token{Access: h.Access, Type: words.TokenTypeBearer, Generation: h.Generation, Connection: id, Account: h.Account, Status: h.Status, Reason: h.Reason}
	if left := h.Left(0); left != wire.Forever {
		s.token.ExpiresAt = began.Add(left).Round(0)
		s.fresh = min(s.fresh, left-h.MinLife(minTTL))
	}
	if !h.DueAt.IsZero() {
		s.fresh = min(s.fresh, h.DueAt.Sub(h.Now))
	}
	if h.Status == words.StatusReconnectRequired {
		s.fresh = min(s.fresh, endedLasts)
	}
	if h.KillsAccess {
		s.fresh = 0
	}
	return s
}

// elapsed returns how long ago the snapshot was loaded. If the wall clock and the
// monotonic clock disagree, because the machine slept or its clock was set, the longer
// time counts: one load too many costs nothing.
func (s *snapshot) elapsed(now time.Time) time.Duration {
	return max(now.Sub(s.loaded), time.Duration(now.UnixNano()-s.loaded.UnixNano()))
}

// usable reports whether the token may be handed out, see [wire.TokenState.Usable].
func (s *snapshot) usable(elapsed time.Duration, beyond int64) bool {
	return s.state.Usable(elapsed, beyond)
}

// enough reports whether the token may be handed out without a refresh first, see
// [wire.TokenState.Enough].
func (s *snapshot) enough(elapsed time.Duration, beyond int64) bool {
	return s.state.Enough(elapsed, beyond, s.minTTL)
}

// floored reports whether callers must wait before they may have the token refreshed
// again, see [wire.TokenState.Floored].
func (s *snapshot) floored(now time.Time) bool { return s.state.Floored(s.elapsed(now)) > 0 }

// here converts a time of the backend's clock into one of this process's.
func (s *snapshot) here(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return s.loaded.Add(t.Sub(s.state.Now)).Round(0)
}
