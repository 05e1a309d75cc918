package measure

import (
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// Result is what was found.
type Result struct {
	Findings []Finding `json:"findings"`
	// Description has the lines of a description that were measured, and no others, with
	// their evidence.
	Description provider.Description `json:"-"`
	Consents    int                  `json:"consents"` // that were asked for
	// Left counts the grants that could not be revoked. The account's owner must remove
	// them at the provider.
	Left int `json:"grants_left"`
}

// Finding is one fact, or why it could not be measured.
type Finding struct {
	Experiment string `json:"experiment"`
	// Key is the line of a description that the finding gives; empty: there is none for it.
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"` // as a description writes it; empty: not measured
	// Saw says what the provider did.
	Saw string `json:"saw,omitempty"`
	// NotMeasured says why there is no value.
	NotMeasured string `json:"not_measured,omitempty"`
}

// The keys of findings that no description has a line for.
const (
	// KeyAfterWindow: what a replay after the end of a grace costs, as a replay class:
	// single_use or reuse_revokes.
	KeyAfterWindow = "after_window"
	// KeyGraceEnds: whether the use of the new refresh token ends the grace of the old one.
	KeyGraceEnds = "grace_ends_with_use"
	// KeyReplayGives: what a replay within the grace brings: same_pair or another_pair.
	KeyReplayGives = "replay_gives"
	// KeyWrongClientSpends: whether a request with a wrong client secret spends the token.
	KeyWrongClientSpends = "wrong_client_spends"
)

// Value returns what was found for a key, "" if it was not measured.
func (r Result) Value(key string) string {
	for _, f := range r.Findings {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// Against lists in what an entry says something else than what was measured.
func (r Result) Against(e provider.Entry) []provider.Change {
	measured := r.Description.Over(e, false, func(string, string) {})
	if class := measured.ReplayClass; class != perennial.ReplayGrace && r.Description.ReplayClass != "" {
		measured.GraceWindow = 0
	}
	measured.ReplaySource, measured.Evidence = e.ReplaySource, e.Evidence
	return provider.Diff(e, measured)
}

// facts are those of [provider.Facts] that a finding is evidence of, by its key.
var facts = map[string]string{
	"spellings.revoked":       "refusal",
	"spellings.misconfigured": "wrong_client",
	"checks_client_first":     "wrong_client",
	"rotation":                "rotation",
	"default_lifetime":        "lifetime",
	"lifetime_unit":           "lifetime",
	"replay_class":            "replay",
	"grace_window":            "replay",
	"revocation":              "revocation",
}

// evidence says how the facts are known that were found.
func evidence(findings []Finding, on time.Time) []provider.Evidence {
	var known []string
	for _, fact := range provider.Facts {
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Value != "" && facts[f.Key] == fact }) {
			known = append(known, fact)
		}
	}
	if len(known) == 0 {
		return nil
	}
	return []provider.Evidence{{Facts: known, By: provider.ByMeasurement, Source: source, Date: on.UTC().Format(time.DateOnly)}}
}

const source = "perennial provider measure"
