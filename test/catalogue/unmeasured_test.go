package catalogue

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// after is what one fault costs, on average over some connections.
type after struct {
	lost   float64       // the share of grants that are lost
	gap    time.Duration // without a token, of those that are not lost
	served time.Duration // how long the access token works after the fault
	told   time.Duration // of the lost: until the customer must reconnect
}

// servers are the kinds that a server nobody measured may turn out to be.
var servers = []struct {
	name  string
	class perennial.ReplayClass
	grace time.Duration
}{
	{"reusable", perennial.ReplayReusable, 0}, {"grace of 30 s", perennial.ReplayGrace, 30 * time.Second},
	{"single_use", perennial.ReplaySingleUse, 0}, {"reuse_revokes", perennial.ReplayReuseRevokes, 0},
}

// faults are the ways in which a refresh ends unknown.
var faults = []struct {
	name string
	set  func(*fakeprovider.Knobs)
}{
	{"lost reply", func(k *fakeprovider.Knobs) { k.DropAfter = 1 }},
	{"lost request", func(k *fakeprovider.Knobs) { k.DropBefore = 1 }},
	{"three lost requests", func(k *fakeprovider.Knobs) { k.DropBefore = 3 }},
}

// TestUnmeasuredServer weighs what decision 43 decides: after an unknown outcome, a server
// of class unknown is asked again with backoff. The other rule, to serve the access token
// to its end first, is that of reuse_revokes.
func TestUnmeasuredServer(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	figures := map[string]after{}
	var table strings.Builder
	for _, server := range servers {
		for _, rule := range []perennial.ReplayClass{perennial.ReplayUnknown, perennial.ReplayReuseRevokes} {
			for _, fault := range faults {
				got := suffer(t, database, server.class, server.grace, rule, fault.set)
				figures[server.name+", "+string(rule)+", "+fault.name] = got
				fmt.Fprintf(&table, "%-14s %-14s %-20s lost %3.0f %% = %4.0f or %3.0f of a million refreshes; gap %s; served %s; told %s\n",
					server.name, rule, fault.name, 100*got.lost, 1000*got.lost, 100*got.lost, got.gap.Round(time.Millisecond), got.served.Round(time.Second), got.told.Round(time.Second))
			}
		}
	}
	t.Log("\n" + table.String())
	at := func(key string) after { return figures[key] }
	assert.Zero(t, at("grace of 30 s, unknown, lost reply").lost, "asked again at once, a window of any length serves")
	assert.EqualValues(t, 1, at("grace of 30 s, reuse_revokes, lost reply").lost, "at the access token's end it is over")
	for _, server := range servers {
		now, end := at(server.name+", unknown, lost reply"), at(server.name+", reuse_revokes, lost reply")
		assert.LessOrEqual(t, now.lost, end.lost, "%s: to wait saves no grant", server.name)
		assert.Zero(t, at(server.name+", unknown, three lost requests").gap, "%s: nobody notices requests that never arrived", server.name)
		assert.Greater(t, at(server.name+", reuse_revokes, three lost requests").gap, 5*time.Second, "%s: to wait costs a gap", server.name)
		if now.lost > 0 {
			assert.Less(t, now.told, end.told, "%s: the customer hears of it later", server.name)
		}
	}
	gain := at("reuse_revokes, reuse_revokes, lost reply").served - at("reuse_revokes, unknown, lost reply").served
	assert.Positive(t, gain, "what waiting is for")
	assert.Less(t, gain, 30*time.Minute, "what a refresh is early: the buffer, and the place in the cycle")
}

// suffer lets connections of a server of this class, whose description says rule, meet a
// fault in their second refresh.
func suffer(t *testing.T, database []byte, class perennial.ReplayClass, grace time.Duration, rule perennial.ReplayClass, fault func(*fakeprovider.Knobs)) (mean after) {
	t.Helper()
	const connections = 4
	file := filepath.Join(t.TempDir(), "perennial.db")
	require.NoError(t, os.WriteFile(file, database, 0o600))
	e, ok := provider.Lookup("generic")
	require.True(t, ok)
	e = complete(e)
	e.DefaultLifetime = time.Hour
	truth := e
	truth.ReplayClass, truth.GraceWindow = class, grace
	e.ReplayClass = rule
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, file, known{entry: truth}, e)
		defer w.close()
		var survived, lost time.Duration
		for n := range connections {
			c := w.connects(scenarios[n].name, 1) // an app for each, so that no circuit of another stops it
			for other := range 4 {
				w.connects(scenarios[n].name, other+2) // an app of one connection is its own circuit
			}
			want(w.step(c.ID).Outcome == perennial.OutcomeRefreshed, "it is not refreshed")
			one := w.suffers(w.row(c.ID), fault)
			mean.lost += one.lost
			mean.served += one.served / connections
			mean.gap += one.gap
			mean.told += one.told
			if one.lost > 0 {
				lost++
			} else {
				survived++
			}
		}
		mean.lost /= connections
		mean.gap /= max(survived, 1)
		mean.told /= max(lost, 1)
	})
	return mean
}

// suffers lets one connection's next refresh meet a fault, and follows it to its end.
func (w *world) suffers(c perennial.Connection, fault func(*fakeprovider.Knobs)) (a after) {
	old := w.token(c, seal.FieldAccessToken).Reveal()
	w.adjust(c, fault)
	want(w.step(c.ID).Outcome == perennial.OutcomeUnknown, "the outcome is known")
	began, died := time.Now(), time.Time{}
	for range 50 {
		if died.IsZero() && !w.server.Accepts(old) {
			died = time.Now()
		}
		row := w.row(c.ID)
		if row.Generation > c.Generation {
			if died.IsZero() || died.After(c.ExpiresAt) {
				died = c.ExpiresAt
			}
			return after{gap: max(time.Since(c.ExpiresAt), 0), served: died.Sub(began)}
		}
		if row.Status != perennial.StatusActive {
			if died.IsZero() || died.After(c.ExpiresAt) {
				died = c.ExpiresAt
			}
			return after{lost: 1, served: died.Sub(began), told: time.Since(began)}
		}
		w.step(c.ID)
	}
	panic(problem("it is neither refreshed nor refused"))
}
