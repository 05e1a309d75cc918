package neighbours

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// rest is how long a token set of [life] rests before it is renewed, and cycle the time
// between two renewals of a connection in its place.
const (
	rest  = life - life/4
	cycle = 355 * time.Second
)

// firstDue returns when a connection that is in its place in the cycle is due next.
// Each has a place, which follows from its id.
func firstDue(id string) time.Time {
	now := time.Now()
	at := func(ago time.Duration) time.Time {
		return timing.Due(now.Add(-ago), life, provider.BufferQueue, id, 1)
	}
	for ago := time.Duration(0); ago < cycle; ago += 10 * time.Second {
		// A connection out of its place is renewed relative to its start.
		if due := at(ago); due.Equal(at(ago + time.Second)) {
			for ; !due.After(now); due = due.Add(cycle) {
			}
			for ; due.After(now.Add(cycle)); due = due.Add(-cycle) {
			}
			return due
		}
	}
	panic("a cycle without the place of " + id)
}

// inPlace returns the start of the token set of a connection in its place.
func inPlace(id string) time.Time { return firstDue(id).Add(-rest) }

// names returns the ids of the connections of a cell: first the healthy, then the sick.
// Those of a small app have their places at even distances, the sick between the
// healthy.
func names(c cell) (ids []string) {
	healthy, sick := make([]string, c.size.healthy), make([]string, c.size.sick)
	for i := range healthy {
		healthy[i] = fmt.Sprintf("well%04d", i)
	}
	for i := range sick {
		sick[i] = fmt.Sprintf("sick%04d", i)
	}
	if c.small() {
		for i := range healthy {
			healthy[i] = placed("well", 2*i, 2*c.size.healthy)
		}
		for i := range sick {
			sick[i] = placed("sick", 2*i+1, 2*c.size.sick)
		}
	}
	return append(healthy, sick...)
}

// placed returns an id whose place is near the i-th of n parts of the cycle.
func placed(prefix string, i, n int) string {
	part := cycle / time.Duration(n)
	for k := 0; ; k++ {
		id := fmt.Sprintf("%s%04d", prefix, k)
		if off := time.Until(firstDue(id)) - time.Duration(i)*part; off > 0 && off < part/4 {
			return id
		}
	}
}
