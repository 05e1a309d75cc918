package scale

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPriceIsTheLists(t *testing.T) {
	t.Parallel()
	for actions, want := range map[float64]float64{1e6: 50, 5e6: 250, 11.25e6: 525, 200e6: 250 + 225 + 400 + 1050 + 1500 + 2500} {
		got, contact := price(actions)
		assert.InDelta(t, want, got, 1e-6, actions)
		assert.False(t, contact)
	}
	got, contact := price(300e6)
	assert.True(t, contact)
	assert.InDelta(t, 5925+2500, got, 1e-6)
}

func TestNeedsFollowFromTheUnits(t *testing.T) {
	t.Parallel()
	u := Units{OwnCPU: 20, OwnTemporal: 15, PooledCPU: 2, PooledTemporal: 0.5, OwnActions: 2, RowBytes: 2000, LedgerBytes: 400}
	f := Fleet{Connections: 100_000, Life: time.Hour, Ledger: 24 * time.Hour}
	n := u.Of(f)
	assert.InDelta(t, 100_000/interval(time.Hour).Seconds(), n.PerSecond, 1e-9)
	assert.InDelta(t, n.PerSecond*86400*30*2, n.Actions, 1)
	assert.InDelta(t, n.PerSecond*0.02, n.Cores, 1e-9)
	assert.InDelta(t, 100_000*2000+n.PerSecond*86400*400, n.Bytes, 1)
	f.Pooled = true
	p := u.Of(f)
	assert.Equal(t, n.PerSecond, p.PerSecond)
	assert.Less(t, p.Actions, n.Actions/10)
	f.Unused = 1
	assert.InDelta(t, 100_000.0/86400, u.Of(f).PerSecond, 1e-9, "once a day")
}

func TestCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, plot := filepath.Join(dir, "warm.json"), filepath.Join(dir, "scale.svg")
	require.NoError(t, os.WriteFile(from, []byte(`{"variants": {"own": {"cpu_ms_per_refresh": 20, "cpu_ms_temporal": 10, "actions_per_refresh": 2, "row_bytes": 2000}, "pooled": {"cpu_ms_per_refresh": 2}}}`), 0o600))
	var out bytes.Buffer
	require.NoError(t, Command([]string{"--from", from, "--plot", plot}, &out))
	assert.Equal(t, 2+len(sizes)*8, bytes.Count(out.Bytes(), []byte("\n")))
	raw, err := os.ReadFile(plot)
	require.NoError(t, err)
	decoder := xml.NewDecoder(bytes.NewReader(raw))
	for {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
	}
	require.ErrorContains(t, Command([]string{"--from", filepath.Join(dir, "none")}, &out), "--from")
}
