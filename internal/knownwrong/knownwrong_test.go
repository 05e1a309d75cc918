package knownwrong_test

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/knownwrong"
	"github.com/stretchr/testify/assert"
)

type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		got, want string
		today     []string
		fails     bool
	}{
		"still wrong":     {got: "wrong", want: "right", today: []string{"wrong"}},
		"mended":          {got: "right", want: "right", today: []string{"wrong"}, fails: true},
		"wrong otherwise": {got: "worse", want: "right", today: []string{"wrong"}, fails: true},
		"right and wrong": {got: "right", want: "right", today: []string{"right"}, fails: true},
		"right":           {got: "right", want: "right"},
		"not right":       {got: "wrong", want: "right", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			knownwrong.Equal(r, c.got, c.want, c.today...)
			assert.Equal(t, c.fails, r.failed)
		})
	}
}
