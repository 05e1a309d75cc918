package provider

import "slices"

// Facts are the ten that decide how long a connection lives and what may end it, in the
// order in which people look for them. Evidence may be about others too.
var Facts = []string{"rotation", "replay", "lifetime", "idle_clock", "hard_clock", "refusal", "wrong_client", "rate_limit", "account", "revocation"}

// The sources of a fact, as [Evidence].By has them.
const (
	ByProvider      = "provider"
	ByMeasurement   = "measured"
	ByThirdParty    = "third_party"
	ByNobody        = "not_documented" // somebody looked, and found nothing
	ByNobodyLooking = ""               // nobody has looked
)

// BestFirst lists every By of an [Evidence], the best source first.
var BestFirst = []string{ByProvider, ByMeasurement, ByThirdParty, ByNobody}

// Sources returns what is written down about how a fact is known, the best source first.
func (e Entry) Sources(fact string) []Evidence {
	var out []Evidence
	for _, by := range BestFirst {
		for _, found := range e.Evidence {
			if found.By == by && slices.Contains(found.Facts, fact) {
				out = append(out, found)
			}
		}
	}
	return out
}

// Source returns the best source of a fact: [ByProvider] or another By.
func (e Entry) Source(fact string) string {
	if found := e.Sources(fact); len(found) > 0 {
		return found[0].By
	}
	return ByNobodyLooking
}

// CountFacts counts the ten [Facts] by their best source.
func (e Entry) CountFacts() map[string]int {
	count := map[string]int{}
	for _, fact := range Facts {
		count[e.Source(fact)]++
	}
	return count
}
