package metrics

import "github.com/prometheus/client_golang/prometheus"

// RegisterServers registers whether the servers that this process shares with others
// answer it.
func RegisterServers(r prometheus.Registerer, database, temporal func() bool) {
	for _, s := range []struct {
		name, help string
		up         func() bool
	}{
		{"database_up", "1 while the database answers this process, else 0.", database},
		{"temporal_up", "1 while Temporal answers this process, else 0.", temporal},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "perennial", Name: s.name, Help: s.help}, func() float64 {
			if s.up() {
				return 1
			}
			return 0
		}))
	}
}
