package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/perennial-oauth/perennial/internal/seam"
)

// targets names for each protection the faults that need it.
var targets = map[seam.Protection]string{
	seam.ClaimBeforeSpend: "sigkill",
	seam.DigestGuard:      "reconnect",
	seam.Spool:            "spool_outlives",
	seam.Journal:          "journal",
	seam.Fence:            "sigstop",
	seam.AmbiguityMemory:  "answer_lost",
	seam.Confirm:          "refused_once",
	seam.Circuit:          "wrong_secret",
	seam.RefusalHold:      "false_refusals",
	seam.WithoutCancel:    "temporal_cut",
	seam.Binding:          "cloned_database,foreign_worker",
	seam.Watchdog:         "temporal_denied",
	seam.Cohorts:          "junk_imports",
}

// weaken plays once for each protection, with that one switched off and with the faults
// that need it. broken reports that one of these runs broke nothing: either the
// protection protects nothing, or the suite does not see the harm that it prevents.
func weaken(ctx context.Context, o options, out, log io.Writer) (broken bool, err error) {
	only, err := protections(o.off)
	if err != nil {
		return false, err
	}
	for _, p := range seam.Protections {
		if len(only) > 0 && !slices.Contains(only, string(p)) {
			continue
		}
		o.off, o.only = string(p), targets[p]
		sum, err := play(ctx, o, log)
		if err != nil {
			return true, fmt.Errorf("without %s: %w", p, err)
		}
		fmt.Fprintf(out, "without %s, seed %d, %s: %d broken invariants in %.0f s\n", p, o.seed, targets[p], len(sum.BrokenInvariants), sum.Seconds)
		for _, what := range sum.BrokenInvariants[:min(3, len(sum.BrokenInvariants))] {
			fmt.Fprintln(out, "  "+what)
		}
		broken = broken || len(sum.BrokenInvariants) == 0
	}
	return broken, nil
}
