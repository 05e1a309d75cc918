package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
)

// sampled is how many workflows' histories are measured.
const sampled = 100

// history is the state of one workflow: its run, the run's size, and the connection's
// generation.
type history struct {
	run                       string
	events, bytes, generation float64
	grownEvents, grownBytes   float64 // since the previous reading
}

// sample reads evenly chosen workflows. If before has a reading, sample follows each
// chain of runs from there.
func (w *world) sample(ctx context.Context, before map[string]history) (map[string]history, error) {
	if w.temporal == nil || len(w.fleet) == 0 {
		return nil, nil
	}
	out := map[string]history{}
	step := max(1, len(w.fleet)/sampled)
	for i := 0; i < len(w.fleet); i += step {
		id := w.fleet[i].id
		run := ""
		if b, ok := before[id]; ok {
			run = b.run
		}
		h, err := w.follow(ctx, w.variant.workflowID(id), run)
		if err != nil {
			return nil, err
		}
		if b, ok := before[id]; ok {
			h.grownEvents -= b.events
			h.grownBytes -= b.bytes
		}
		if h.generation, err = w.count(ctx, "SELECT generation FROM "+w.variant.table()+" WHERE id = $1", id); err != nil {
			return nil, err
		}
		out[id] = h
	}
	return out, nil
}

// follow adds up the runs from run (the current one if "") to the current one.
func (w *world) follow(ctx context.Context, id, run string) (h history, err error) {
	for {
		d, err := w.client.DescribeWorkflowExecution(ctx, id, run)
		if err != nil {
			return h, fmt.Errorf("describe workflow %s: %w", id, err)
		}
		info := d.WorkflowExecutionInfo
		h.run, h.events, h.bytes = info.Execution.RunId, float64(info.HistoryLength), float64(info.HistorySizeBytes)
		h.grownEvents += h.events
		h.grownBytes += h.bytes
		if info.Status != enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
			return h, nil
		}
		last, err := w.client.GetWorkflowHistory(ctx, id, h.run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT).Next()
		if err != nil {
			return h, fmt.Errorf("read the end of workflow %s: %w", id, err)
		}
		run = last.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId()
	}
}

// grown records how much the sampled histories grew for each refresh.
func grown(f figures, from, to map[string]history) {
	var events, bytes, refreshes float64
	for id, h := range to {
		events += h.grownEvents
		bytes += h.grownBytes
		refreshes += h.generation - from[id].generation
	}
	f.ratio("events_per_refresh", events, refreshes)
	f.ratio("history_bytes_per_refresh", bytes, refreshes)
}

// sumMetric adds up those series of a Prometheus metric whose labels contain label.
func sumMetric(ctx context.Context, url, name, label string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		series, value, _ := strings.Cut(strings.Replace(lines.Text(), "} ", "}\x00", 1), "\x00")
		if value == "" {
			series, value, _ = strings.Cut(series, " ")
		}
		family, labels, _ := strings.Cut(series, "{")
		if family != name || !strings.Contains(labels, label) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum += n
	}
	return sum, lines.Err()
}
