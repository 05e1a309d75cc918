package api

import (
	"net/netip"
	"time"
)

// SecretMatches is the comparison of a presented secret.
var SecretMatches = secretMatches

// Statuses is the table from a code to HTTP.
var Statuses = statuses

// NewFailures counts keys that are not valid; MostAddresses bounds its table.
var NewFailures = newFailures

// MostAddresses are counted one by one.
const MostAddresses = mostAddresses

// Peer is whose address a connection has.
var Peer = peer

// Add counts a failure.
func (f *failures) Add(from netip.Prefix, now time.Time) (wait time.Duration, tell, ok bool) {
	return f.add(from, now)
}

// Len is how many addresses are counted one by one.
func (f *failures) Len() int { return len(f.of) }

// CheckJSON is the check of every body.
func CheckJSON(body []byte) *Problem { return (&API{}).checkJSON(body) }
