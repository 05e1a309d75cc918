package store

import (
	"time"
)

// RateSlots is the state of an app's limit: the next free slot, and the next place in
// the queue of connections that found no slot.
type RateSlots struct{ SlotAt, BacklogAt time.Time }

// Reserve reserves a slot, or returns when to ask again. It is pure. waited says that
// the caller's wait in the queue is over: it goes before new callers. Reserve never
// takes a slot further ahead than patience, nor nearer than lead.
func (t RateSlots) Reserve(id string, waited bool, rate float64, patience, lead time.Duration, now time.Time) (at time.Time, admitted bool, after RateSlots) {
	gap := time.Duration(spacing / rate * float64(time.Second))
	slot := latest(t.SlotAt, now.Add(lead))
	tooFar := slot.After(now.Add(patience))
	switch {
	case !waited && (tooFar || t.BacklogAt.After(now.Add(patience))):
		turn := latest(t.BacklogAt, slot)
		t.BacklogAt = turn.Add(gap)
		return turn, false, t
	case tooFar:
		return slot.Add(spread(id, now, patience)), false, t // its wait is over, but the slots are late
	}
	t.SlotAt = slot.Add(gap)
	return slot, true, t
}
