package store

import "time"

// Turns is what an app's limit knows: the next free slot, and the next place in
// the queue of those who found none.
type RateSlots struct{ SlotAt, BacklogAt time.Time }

// Take gives out a slot, or a time to come back. It is pure. waited says that the
// caller's turn in the queue came: it goes before new ones. A slot further ahead
// than patience is not given out; lead is the least time to one.
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
		return slot.Add(spread(id, now, patience)), false, t // its turn came, the slots are late
	}
	t.SlotAt = slot.Add(gap)
	return slot, true, t
}
