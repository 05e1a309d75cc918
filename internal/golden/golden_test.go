package golden

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFirstDifference(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want, got, line string
		differ          bool
	}{
		"equal":     {want: "a\nb\n", got: "a\nb\n"},
		"changed":   {want: "a\nb\n", got: "a\nc\n", line: `line 2 was "b" and is "c"`, differ: true},
		"longer":    {want: "a", got: "a\nb", line: `line 2 was "(end)" and is "b"`, differ: true},
		"cut short": {want: "a\n", got: "a", line: `line 2 was "" and is "(end)"`, differ: true},
	} {
		line, differ := firstDifference(c.want, c.got)
		assert.Equal(t, c.differ, differ, name)
		assert.Equal(t, c.line, line, name)
	}
}
