package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/require"
)

func TestLifeGivesTheInterval(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{time.Second, 5 * time.Second, 20 * time.Second, 100 * time.Second, 1000 * time.Second, time.Hour} {
		life := lifeFor(interval)
		require.Equal(t, life, life.Truncate(time.Second), "expires_in is whole seconds")
		for i := range 20 { // every connection reaches its place, wherever it starts
			id, at := "account-"+strconv.Itoa(i), time.Unix(int64(i)*7919, 0)
			for generation := range int64(20) {
				at = timing.Due(at, life, provider.BufferQueue, id, generation)
			}
			next := timing.Due(at, life, provider.BufferQueue, id, 20)
			require.InDelta(t, meanInterval(life).Seconds(), next.Sub(at).Seconds(), 0.01*life.Seconds(), interval)
		}
		require.InDelta(t, interval.Seconds(), meanInterval(life).Seconds(), 1+0.02*interval.Seconds(), interval)
	}
}

func TestAgesAreSpread(t *testing.T) {
	t.Parallel()
	for connections, want := range map[int][]int{4: {0, 93, 186, 279}, 8: {0, 46, 93, 139, 186, 232, 279, 325}} {
		w := world{options: options{connections: connections}, life: time.Minute}
		first := w.spread(372)
		for i, n := range want {
			_, lifetimes := first(i)
			require.Len(t, lifetimes, n+1, "the last one is the phase") // each connection first makes as many refreshes
		}
	}
	w := world{options: options{connections: 48}, life: time.Minute}
	seen := map[int]int{}
	for i := range 48 {
		_, lifetimes := w.spread(24)(i)
		seen[len(lifetimes)-1]++
	}
	require.Len(t, seen, 24)
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	p, err := parseStat([]byte("42 (a (strange) name) S 7 42 42 0 -1 4194304 100 200 0 0 11 12 13 14 20 0 1 0 1 2 3"))
	require.NoError(t, err)
	require.Equal(t, proc{parent: 7, cpu: 500 * time.Millisecond}, p)
	_, err = parseStat([]byte("42 (cut) S 7"))
	require.Error(t, err)
}

func TestOwnCPUGrows(t *testing.T) {
	t.Parallel()
	before, err := cpuOf(map[string]int{"test": os.Getpid()})
	require.NoError(t, err)
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
	}
	after, err := cpuOf(map[string]int{"test": os.Getpid()})
	require.NoError(t, err)
	require.Greater(t, after["test"], before["test"])
	_, err = cpuOf(map[string]int{"gone": 1 << 30})
	require.EqualError(t, err, "gone (process 1073741824) has ended")
}

func TestSumMetric(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `# TYPE action counter
action{action_type="a b",namespace="default"} 3
action{action_type="c",namespace="default"} 4
action{action_type="c",namespace="temporal-system"} 100
action_other{namespace="default"} 100
go_gc_heap_live_bytes 1.5e+06
`)
	}))
	defer s.Close()
	n, err := sumMetric(context.Background(), s.URL, "action", `namespace="default"`)
	require.NoError(t, err)
	require.Equal(t, 7.0, n)
	n, err = sumMetric(context.Background(), s.URL, "go_gc_heap_live_bytes", "")
	require.NoError(t, err)
	require.Equal(t, 1.5e6, n)
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	f := figures{}
	f.quantiles("late", nil)
	require.Empty(t, f)
	f.quantiles("late", []float64{3, 1, 2})
	require.Equal(t, figures{"late_p50": 2, "late_p99": 3, "late_max": 3}, f)
}

func TestReport(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"warm", "--runs", "3", "--variants", "naive,poller,own"}, io.Discard)
	require.NoError(t, err)
	r := newReport(o)
	for run, cpu := range [][3]float64{{30, 2, 15}, {40, 4, 10}, {20, 2, 10}} {
		for i, name := range o.variants {
			r.add(run, name, figures{"cpu_ms_per_refresh": cpu[i], "refreshes": 100})
		}
	}
	require.Equal(t, 30.0, r.Variants["naive"]["cpu_ms_per_refresh"])
	require.Equal(t, map[string]spreadOf{"cpu_ms_per_refresh": {Median: 0.5, Min: 0.25, Max: 0.5}}, r.Ratios["own/naive"], "of the same run")
	require.Equal(t, spreadOf{Median: 5, Min: 2.5, Max: 7.5}, r.Ratios["own/poller"]["cpu_ms_per_refresh"])
	require.Len(t, r.Ratios, 2)

	var out bytes.Buffer
	require.NoError(t, r.write(&out))
	var back map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	for _, key := range []string{"scenario", "commit", "cpu", "runs", "variants", "ratios", "samples"} {
		require.Contains(t, back, key)
	}
}

func TestGrowthComparesWithTheSmallest(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"growth", "--sizes", "100,200,400", "--interval", "10s", "--variants", "own"}, io.Discard)
	require.NoError(t, err)
	r := newReport(o)
	for i, c := range o.cases() {
		require.Equal(t, time.Duration(10<<i)*time.Second, c.interval, "the same refreshes a second")
		r.add(0, c.name, figures{"cpu_ms_per_refresh": float64(10 + i)})
	}
	require.Equal(t, [][2]string{{"own@200", "own@100"}, {"own@400", "own@100"}}, r.pairs())
	require.InDelta(t, 1.2, r.Ratios["own@400/own@100"]["cpu_ms_per_refresh"].Median, 1e-9)
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing": {}, "scenario": {"hot"}, "variant": {"warm", "--variants", "ours"}, "size": {"growth", "--sizes", "many"},
		"age": {"warm", "--age", "-2"}, "interval": {"warm", "--interval", "10ms"}, "more": {"warm", "cold"},
	} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, name)
	}
}
