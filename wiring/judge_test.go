package wiring

import (
	"testing"

	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
)

// TestJudge: a process's rights follow from both sides' ids and numbers alone.
func TestJudge(t *testing.T) {
	t.Parallel()
	here := []store.Binding{{ClusterID: "c", NamespaceID: "n", TaskQueue: "q"}}
	there := []store.Binding{{ClusterID: "c", NamespaceID: "n", TaskQueue: "another queue"}}
	record := func(id string, number int64) *workflows.Record {
		return &workflows.Record{Database: id, Number: number}
	}
	for name, c := range map[string]struct {
		id       string
		number   int64
		bindings []store.Binding
		record   *workflows.Record
		cluster  string
		want     BindingState
	}{
		"before setup":                             {"", 0, nil, nil, "c", Unbound},
		"setup was cut off after the id":           {"d", 0, nil, nil, "c", Unbound},
		"setup was cut off before Temporal":        {"d", 0, here, nil, "c", Unbound},
		"well":                                     {"d", 5, here, record("d", 5), "c", Bound},
		"between the two writes of a sweep":        {"d", 6, here, record("d", 5), "c", Bound},
		"Temporal failed over to another cluster":  {"d", 5, here, record("d", 5), "c2", Bound},
		"another Temporal with the same namespace": {"d", 5, here, nil, "c2", Elsewhere},
		"restored":                                 {"d", 4, here, record("d", 5), "c", Behind},
		"restored to before it had an id":          {"", 0, nil, record("d", 5), "c", Foreign},
		"another database's queue":                 {"d", 5, nil, record("x", 1), "c", Foreign},
		"another one's, which had it too":          {"d", 5, here, record("x", 1), "c", Foreign},
		"a copy, or another task_queue":            {"d", 5, there, nil, "c", Elsewhere},
		"another task_queue of the same Temporal":  {"d", 5, []store.Binding{{NamespaceID: "n", TaskQueue: "old"}}, nil, "c", Elsewhere},
		"a record without a binding":               {"d", 5, there, record("d", 5), "c", Elsewhere},
	} {
		got := judge(Found{Installation: store.Installation{DatabaseID: c.id, Number: c.number, Bindings: c.bindings}, Record: c.record, ClusterID: c.cluster, NamespaceID: "n", TaskQueue: "q"})
		assert.Equal(t, c.want, got.State, name)
		assert.Equal(t, c.want == Bound, got.Reason == "", name)
	}
}
