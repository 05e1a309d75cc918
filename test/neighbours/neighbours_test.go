package neighbours

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// result is the outcome of a cell.
type result struct {
	refreshed int           // of the healthy
	p99       time.Duration // how late these were
	max       time.Duration
	unwell    int // attempts of the healthy that brought nothing, or came after the token's end
	expired   int
	events    map[perennial.EventType]int
	blamed    []string // healthy connections of which an event says that they fail
	misnamed  []string
	circuits  int // opened
	slowed    bool
	hold      bool
	holds     []string // of imports
	took      time.Duration
}

// run runs a cell for a time.
func run(t *testing.T, c cell, during time.Duration) (r result) {
	t.Helper()
	at, began := database(t), time.Now()
	synctest.Test(t, func(t *testing.T) {
		pacers := 0
		if c.pace == pooled {
			pacers = 2
		}
		w := newWorld(t, at, map[string]int{appName: pacers})
		defer w.close(t)
		healthy, sick := w.populate(t, c)
		awake := slices.Concat(healthy, sick)
		if c.pace == pooled {
			awake = sick
		}
		w.start(awake)
		time.Sleep(during)
		r = w.read(t, c, healthy, sick)
	})
	r.took = time.Since(began)
	return r
}

// read reads the outcome of a cell.
func (w *world) read(t *testing.T, c cell, healthy, sick []string) (r result) {
	t.Helper()
	s := w.workers[0].store
	state, err := s.AppState(t.Context(), appName)
	require.NoError(t, err)
	r.hold, r.holds, r.slowed = state.RefusalHold, state.ImportHolds, !state.SlowUntil.IsZero()
	for _, circuit := range state.Circuits {
		r.slowed = r.slowed || !circuit.SlowUntil.IsZero()
	}
	rows, err := w.raw.QueryContext(t.Context(), `SELECT outcome, lateness_ms, life_left_ms FROM attempts WHERE connection_id LIKE 'well%' ORDER BY lateness_ms`)
	require.NoError(t, err)
	defer rows.Close()
	var late []time.Duration
	for rows.Next() {
		var outcome string
		var lateness, left int64
		require.NoError(t, rows.Scan(&outcome, &lateness, &left))
		if outcome == string(perennial.OutcomeRefreshed) {
			late = append(late, time.Duration(lateness)*time.Millisecond)
		} else {
			r.unwell++
		}
		if left <= 0 {
			r.expired++
		}
	}
	require.NoError(t, rows.Err())
	r.refreshed = len(late)
	if len(late) > 0 {
		r.p99, r.max = late[(len(late)-1)*99/100], late[len(late)-1]
	}
	require.NoError(t, w.raw.QueryRowContext(t.Context(), `SELECT count(*) + $1 FROM connections WHERE id LIKE 'well%' AND expires_at <= clock_timestamp()`, r.expired).Scan(&r.expired))
	events, err := s.Events(t.Context(), "", 100_000)
	require.NoError(t, err)
	r.events = map[perennial.EventType]int{}
	for _, e := range events {
		r.events[e.Type]++
		if strings.HasPrefix(e.ConnectionID, "well") && e.Type != perennial.EventConnected {
			r.blamed = append(r.blamed, fmt.Sprintf("%s %s %s", e.ConnectionID, e.Type, e.Data.Code))
		}
	}
	r.circuits = r.events[perennial.EventCircuitOpened]
	for _, id := range sick {
		row, _, err := s.Get(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
		if wrong := misnamed(c, row); wrong != "" {
			r.misnamed = append(r.misnamed, id+": "+wrong)
		}
	}
	return r
}

// populate adds the connections of a cell.
func (w *world) populate(t *testing.T, c cell) (healthy, sick []string) {
	t.Helper()
	ids := names(c)
	healthy, sick = ids[:c.size.healthy], ids[c.size.healthy:]
	for i, id := range healthy {
		w.add(t, appName, id, tenantOf(i), inPlace(id), false)
	}
	for i, id := range sick {
		start := inPlace(id)
		if c.onset == imported {
			start = time.Now().Add(-life) // due at once
		}
		w.add(t, appName, id, c.tenantOfSick(i), start, c.onset == imported)
		from := time.Time{}
		if c.onset == middle {
			from = time.Now().Add(falls)
		}
		w.endpoint.falls(id, c.kind, from)
		if c.onset == long && c.kind != slowly {
			w.failsForLong(t, id, codes[c.kind], time.Duration(i)*5*time.Minute/time.Duration(c.size.sick))
		}
	}
	return healthy, sick
}

// failsForLong makes a row say that its connection has failed for most of a day.
func (w *world) failsForLong(t *testing.T, id, code string, next time.Duration) {
	t.Helper()
	_, err := w.raw.ExecContext(t.Context(), `UPDATE connections SET failure_count = 40, health = 'failing', failing_code = $2, failing_since = clock_timestamp() - interval '20 hours',
		last_refreshed_at = clock_timestamp() - interval '2 days', next_refresh_at = clock_timestamp() - interval '20 hours', expires_at = clock_timestamp() - interval '20 hours',
		next_attempt_at = clock_timestamp() + $3 * interval '1 microsecond' WHERE id = $1`, id, code, next.Microseconds())
	require.NoError(t, err)
}

// quietRuns has the refreshes of the fleets without neighbours.
var quietRuns sync.Map // of cell to func() result

// without returns the run without neighbours.
func without(t *testing.T, c cell) result {
	t.Helper()
	once, _ := quietRuns.LoadOrStore(c.quiet(), sync.OnceValue(func() result { return run(t, c.quiet(), runs) }))
	return once.(func() result)()
}

// testCell runs a cell and checks the healthy connections.
func testCell(t *testing.T, c cell) {
	quiet := without(t, c)
	r := run(t, c, runs+c.lateness()) // a refresh may be as late as that
	t.Logf("%s: %d refreshes of %d, p99 %s, max %s, %d circuits, hold %t, held imports %v, %s", c, r.refreshed, quiet.refreshed, r.p99, r.max, r.circuits, r.hold, r.holds, r.took.Round(time.Second))
	e := expected(c)
	assert.Zero(t, r.unwell, "attempts of healthy connections that brought nothing")
	assert.Zero(t, r.expired, "healthy connections whose token ended")
	assert.Empty(t, r.blamed, "events of healthy connections")
	assert.GreaterOrEqual(t, 100*r.refreshed, 99*quiet.refreshed, "refreshes of the healthy")
	assert.LessOrEqual(t, r.p99, c.lateness())
	assert.Equal(t, e.circuit, r.circuits > 0, "circuits")
	assert.Equal(t, e.hold, r.hold, "refusal hold")
	assert.Len(t, r.holds, e.importHolds, "tenants whose imports are held")
	assert.False(t, r.slowed, "a 429 of one connection slows down nobody else")
	assert.Empty(t, r.misnamed, "sick connections with a wrong name")
}

// inCI are the cells of every run: each kind and each value at least once.
var inCI = []cell{
	{size: size{large, 0}, pace: own},
	{size: size{large, 0}, pace: pooled},
	{size{large, 1}, html, long, one, pooled},
	{size{large, 10}, http429, middle, several, pooled},
	{size{large, 30}, http500, middle, several, pooled},
	{size{large, 100}, timesOut, imported, one, pooled},
	{size{large, 100}, slowly, long, several, pooled},
	{size{large, 100}, refused, middle, several, own},
	{size{1, 1}, http401, middle, one, own},
	{size{7, 1}, unauthorizedClient, long, one, pooled},
	{size{4, 4}, invalidClient, middle, several, pooled},
	{size{15, 1}, http403, imported, one, own},
	{size{8, 8}, refused, imported, several, pooled},
	{size{8, 8}, http500, middle, several, own},
}

// pairsVariable asks for all pairs of values instead: make long-neighbours.
const pairsVariable = "PERENNIAL_TEST_NEIGHBOURS"

// TestNeighbours: beside sick ones of any kind the healthy are refreshed in time, nobody says
// anything of them, and no circuit or hold concerns them that should not.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	cells := inCI
	if os.Getenv(pairsVariable) == "pairs" {
		cells = pairwise(every())
	}
	for _, c := range cells {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			testCell(t, c)
		})
	}
}

// TestCellsCoverEveryValue: the cells of every run have each value, and the long list has
// each pair of values.
func TestCellsCoverEveryValue(t *testing.T) {
	t.Parallel()
	seen, pairs := map[any]bool{}, map[[2]any]bool{}
	for _, c := range inCI {
		for _, v := range c.values() {
			seen[v] = true
		}
	}
	chosen := pairwise(every())
	for _, c := range chosen {
		for _, p := range c.pairs() {
			pairs[p] = true
		}
	}
	for _, c := range every() {
		for _, v := range c.values() {
			assert.True(t, seen[v], "no cell has %v", v)
		}
		for _, p := range c.pairs() {
			assert.True(t, pairs[p], "no cell has %v", p)
		}
	}
	assert.Len(t, inCI, 14)
	t.Logf("%d cells have all pairs", len(chosen))
}
