package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestCompletion: the shell completes the ids that begin with the typed text, and
// nothing if it cannot read them.
func TestCompletion(t *testing.T) {
	t.Parallel()
	file, environ, db := prepared(t)
	insert(t, db, "con_12", "t2", "app")
	insert(t, db, "con_2", "t2", "app")
	complete := func(file string, args ...string) string {
		args = append([]string{"__complete", "--config", file}, args...)
		_, out, _ := output(environ, args...)
		var ids []string
		for line := range strings.Lines(out) {
			if id, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(id, ":") {
				ids = append(ids, id)
			}
		}
		return strings.Join(ids, " ")
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"show", ""}, "con_1 con_12 con_2"},
		{[]string{"show", "con_1"}, "con_12"},
		{[]string{"pause", "con_2"}, ""},
		{[]string{"events", "con_"}, "con_1 con_12 con_2"},
		{[]string{"show", "con_1", ""}, ""},
		{[]string{"app", "show", "a"}, "app"},
		{[]string{"apikey", "revoke", ""}, ""},
		{[]string{"list", "--status", ""}, "active reconnect_required paused disconnected"}, // the shell does the filtering
		{[]string{"cadence", "con_1"}, "con_12"},
	} {
		assert.Equal(t, tc.want, complete(file, tc.args...), "%v", tc.args)
	}
	assert.Empty(t, complete("/nowhere.yaml", "show", ""))
}
