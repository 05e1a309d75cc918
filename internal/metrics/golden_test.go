package metrics

import (
	"regexp"
	"slices"
	"testing"

	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// names is a registry that notes the names and labels of what it is given.
type names struct{ seen []string }

var description = regexp.MustCompile(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`)

func (n *names) Register(c prometheus.Collector) error {
	all := make(chan *prometheus.Desc)
	go func() {
		c.Describe(all)
		close(all)
	}()
	for d := range all {
		m := description.FindStringSubmatch(d.String())
		n.seen = append(n.seen, m[1]+"{"+m[2]+"}")
	}
	return nil
}

func (n *names) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = n.Register(c) // never fails
	}
}

func (n *names) Unregister(prometheus.Collector) bool { return false }

// TestGoldenNames: the metrics and labels that dashboards and alerts use.
func TestGoldenNames(t *testing.T) {
	t.Parallel()
	n := &names{}
	New(n)
	NewAPI(n)
	NewClient(n)
	NewNotify(n)
	RegisterFleet(n, nil, nil)
	RegisterServers(n, nil, nil)
	require.NotEmpty(t, n.seen)
	slices.Sort(n.seen)
	golden.JSON(t, "names", n.seen)
}
