package sim

import (
	"bytes"
	"hash/fnv"
	"strconv"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

// small returns the fleet of the tests: one app, half of it imported, and an outage.
// Its minutes have so many refreshes that chance stays below the bounds.
func small() Config {
	app := App{Name: "app", Provider: "quickbooks", Share: 1, Life: time.Hour, Buffer: provider.BufferQueue, Limit: 1000}
	return Config{Connections: 100_000, For: 30 * time.Hour, Apps: []App{app},
		Imports: []Import{{App: "app", At: 2 * time.Hour, Share: 0.5, Left: 50 * time.Minute}},
		Outages: []Outage{{App: "app", At: 14 * time.Hour, For: 10 * time.Minute}}}
}

func TestEvenAndNeverLate(t *testing.T) {
	t.Parallel()
	r, err := Run(small())
	require.NoError(t, err)
	assert.LessOrEqual(t, r.PeakToMean, 1.3)
	assert.Zero(t, r.Late)
	assert.Greater(t, r.LeastLifeLeft, 0.0)
	assert.LessOrEqual(t, r.BusiestApp, 101, "the limit, and one")
	for _, d := range r.Disturbances {
		assert.LessOrEqual(t, d.EvenAfterHours, 6.0, "%s", d.What)
	}
	var out bytes.Buffer
	require.NoError(t, r.Table(&out))
	assert.Contains(t, out.String(), "peak minute to mean, steady")
	again, err := Run(small())
	require.NoError(t, err)
	r.TookSeconds, again.TookSeconds = 0, 0
	assert.Equal(t, r, again, "the configuration alone decides")
}

// byChance is an earlier policy: it moves each due time at random by up to a tenth of
// the life and five minutes.
func byChance(_ time.Duration, start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "/" + strconv.FormatInt(generation, 10)))
	sum := h.Sum64()
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	sum ^= sum >> 33
	jitter := time.Duration(float64(sum>>11) / (1 << 53) * float64(min(life/10, 5*time.Minute)))
	return start.Add(min(life-min(timing.Buffer(profile, life)+jitter, life/2), day-jitter))
}

// TestAHerdIsSeen: the figures of a policy that keeps a herd together differ from those
// of one that spreads it.
func TestAHerdIsSeen(t *testing.T) {
	t.Parallel()
	c := small()
	c.Due = byChance
	r, err := Run(c)
	require.NoError(t, err)
	assert.Greater(t, r.PeakToMean, 1.3)
}

// TestLateIsSeen: a policy without a buffer is late. So is an import for which the
// limit is too low.
func TestLateIsSeen(t *testing.T) {
	t.Parallel()
	c := small()
	c.Imports, c.Outages = []Import{}, []Outage{}
	c.Due = func(_ time.Duration, start time.Time, life time.Duration, _ provider.BufferProfile, _ string, _ int64) time.Time {
		return start.Add(life)
	}
	r, err := Run(c)
	require.NoError(t, err)
	assert.Positive(t, r.Late)
	assert.LessOrEqual(t, r.LeastLifeLeft, 0.0)

	c = small()
	c.Outages = []Outage{}
	c.Apps[0].Limit = 400 // 40 per second; 50,000 in 25 minutes and the other connections need 48
	r, err = Run(c)
	require.NoError(t, err)
	assert.Positive(t, r.Late)
}

// TestAnOutageIsNobodysFault: tokens that expire while the provider is down are counted
// separately.
func TestAnOutageIsNobodysFault(t *testing.T) {
	t.Parallel()
	c := small()
	c.Connections, c.Imports = 20_000, []Import{}
	c.Apps[0].Limit = 4000 // so high that no connection queues long behind the released ones
	c.Outages = []Outage{{App: "app", At: 14 * time.Hour, For: 40 * time.Minute}}
	r, err := Run(c)
	require.NoError(t, err)
	assert.Positive(t, r.LateInOutage)
	assert.Zero(t, r.Late)
}

func TestWrongConfigurationsAreNamed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"connections": func(c *Config) { c.Connections = -1 },
		"for is":      func(c *Config) { c.For = time.Minute },
		"life":        func(c *Config) { c.Apps[0].Life = 0 },
		"no app":      func(c *Config) { c.Outages[0].App = "nobody" },
		"import":      func(c *Config) { c.Imports[0].Share = 2 },
	} {
		c := small()
		change(&c)
		_, err := Run(c)
		assert.ErrorContains(t, err, want)
	}
}

// TestEveryLifeIsSourced: the default fleet's lives are the catalogue's.
func TestEveryLifeIsSourced(t *testing.T) {
	t.Parallel()
	share := 0.0
	for _, a := range Apps() {
		share += a.Share
		assert.NotEmpty(t, a.Source, a.Name)
		e, ok := provider.Lookup(a.Provider)
		require.True(t, ok, a.Name)
		if a.Name != "zendesk" { // its life is what we ask for
			assert.Equal(t, e.DefaultLifetime, a.Life, a.Name)
		}
	}
	assert.InDelta(t, 1, share, 1e-9)
}

func BenchmarkRun(b *testing.B) {
	c := small()
	c.Connections = 20_000
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Run(c); err != nil {
			b.Fatal(err)
		}
	}
}
