package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/store"
)

// listedProcesses is how many processes are shown. Those with a problem come first.
const listedProcesses = 30

// processesReport looks at the last report of each worker, server and product.
func processesReport(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	all, now, err := rows.Processes(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return one(warning("start a worker of this version; older ones do not report", "no process has reported within a week: version, keys, clocks and spools of the machines are not known"))
	}
	out := make([]Finding, 0, len(all))
	lists := primaries(all, now)
	for _, process := range all {
		out = append(out, aboutProcess(process, now, lists))
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return slices.Index(States, b.State) - slices.Index(States, a.State) })
	if more := len(out) - listedProcesses; more > 0 {
		out = append(out[:listedProcesses], warning("list all by `perennial processes`", "%d more: not shown", more))
	}
	return out, nil
}

// primaries returns, by field, the keys by which the live processes seal.
func primaries(all []store.Process, now time.Time) map[string][]uint32 {
	out := map[string][]uint32{}
	for _, p := range all {
		if !p.Alive(now) {
			continue
		}
		for field, ids := range p.Keys {
			if len(ids) > 0 && !slices.Contains(out[field], ids[0]) {
				out[field] = append(out[field], ids[0])
			}
		}
	}
	return out
}

func aboutProcess(p store.Process, now time.Time, sealedBy map[string][]uint32) Finding {
	silent := now.Sub(p.ReportedAt).Round(time.Second)
	seen := fmt.Sprintf("%s on %s: version %s, revision %d, task queue %s, keys %s, clock %s from the database's, spool %d, binding %s",
		p.Kind, p.Host, p.Version, p.Revision, p.TaskQueue, keyIDs(p), p.ClockOffset.Round(time.Millisecond), p.SpoolSets, p.Binding)
	switch {
	case !p.Alive(now) && p.SpoolSets > 0:
		return wrong("start it again with its spool: the tokens in it may be the only copies", "it has not reported for %s, and its spool held token sets: %s", silent, seen)
	case !p.Alive(now):
		return warning("if it was ended, nothing: its line goes after a week; else read its log, and look whether it reaches the database", "it has not reported for %s: %s", silent, seen)
	case p.Binding != "" && p.Binding != "bound" && p.Binding != "unbound":
		return wrong("see the line `binding`, and its /readyz: its settings lead to another database, namespace or task queue", "it presents nothing: %s", seen)
	}
	if field, id := cannotOpen(p, sealedBy); field != "" {
		return wrong("give it the current keysets and start it again", "it has no key %d, by which another process seals the %s: %s", id, field, seen)
	}
	switch {
	case p.ClockOffset.Abs() > maxOffset:
		return warning("set its clock by NTP", "its clock is wrong: %s", seen)
	case p.SpoolSets > 0:
		return warning("see whether the database takes writes; the sets are stored by themselves", "token sets wait in its spool: %s", seen)
	}
	return well("%s", seen)
}

// cannotOpen returns a key that the process lacks in a field for which it has keys.
func cannotOpen(p store.Process, sealedBy map[string][]uint32) (field string, id uint32) {
	for _, field := range slices.Sorted(maps.Keys(p.Keys)) {
		for _, id := range sealedBy[field] {
			if len(p.Keys[field]) > 0 && !slices.Contains(p.Keys[field], id) {
				return field, id
			}
		}
	}
	return "", 0
}

// keyIDs lists the ids of the keys by field, the primary first.
func keyIDs(p store.Process) string {
	if len(p.Keys) == 0 {
		return "none"
	}
	text := ""
	for _, field := range slices.Sorted(maps.Keys(p.Keys)) {
		text += fmt.Sprintf(" %s %v", field, p.Keys[field])
	}
	return text[1:]
}
