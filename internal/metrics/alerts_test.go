package metrics

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var (
	metric  = regexp.MustCompile(`(perennial_\w+)(?:\{(\w+)=~?"[^"]*"\})?`)
	grouped = regexp.MustCompile(`by \(([^)]*)\)`)
)

// TestAlerts: docs/alerts.yaml uses metrics and labels that exist, and docs/alerts.md
// has a remedy for each alert.
func TestAlerts(t *testing.T) {
	t.Parallel()
	n := &names{}
	New(n)
	NewAPI(n)
	NewNotify(n)
	RegisterFleet(n, nil, nil)
	RegisterServers(n, nil, nil)
	labels := map[string][]string{}
	for _, seen := range n.seen {
		name, rest, _ := strings.Cut(strings.TrimSuffix(seen, "}"), "{")
		labels[name] = append(strings.Split(rest, ","), "instance")
	}
	for name := range labels {
		if strings.HasSuffix(name, "_seconds") { // of a histogram; a gauge has no buckets, but no rule asks for them
			labels[name+"_bucket"] = append(labels[name], "le")
			labels[name+"_count"] = labels[name]
		}
	}

	raw, err := os.ReadFile("../../docs/alerts.yaml")
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/alerts.md")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr string
				For         time.Duration
				Labels      struct{ Severity string }
			}
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&file))
	require.Len(t, file.Groups, 1)
	lines := regexp.MustCompile("(?m)^\\| `(Perennial\\w+)` \\| (\\w+) \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1)
	require.Len(t, lines, len(file.Groups[0].Rules), "a line of the page for each alert")
	for i, rule := range file.Groups[0].Rules {
		assert.Equal(t, rule.Alert, lines[i][1], "the page has the alerts in their order")
		after, err := time.ParseDuration(lines[i][2])
		require.NoError(t, err)
		assert.Equal(t, rule.For, after, rule.Alert)
		assert.Positive(t, rule.For, rule.Alert)
		assert.Contains(t, []string{"page", "ticket"}, rule.Labels.Severity, rule.Alert)
		used := metric.FindAllStringSubmatch(rule.Expr, -1)
		require.NotEmpty(t, used, rule.Alert)
		for _, m := range used {
			require.Contains(t, labels, m[1], rule.Alert)
			if m[2] != "" {
				assert.Contains(t, labels[m[1]], m[2], rule.Alert)
			}
			for _, by := range grouped.FindAllStringSubmatch(rule.Expr, -1) {
				assert.Subset(t, labels[m[1]], strings.Split(by[1], ", "), rule.Alert)
			}
		}
	}
}
