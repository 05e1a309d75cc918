package fill_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
)

type embedded struct{ Inside string }

type part struct{ Name string }

type whole struct {
	embedded
	Text   string
	Tagged string `json:"in_json,omitempty"`
	Count  int
	Ratio  float64
	Yes    bool
	Bytes  []byte
	When   time.Time
	Parts  []part
	Names  map[string]string
	Next   *whole
	Part   *part
	left   string
}

func TestValues(t *testing.T) {
	w := fill.Of[whole]()
	assert.Equal(t, []string{"Next"}, fill.Zeros(w), "only what is in itself stays zero")
	assert.Empty(t, w.left)
	assert.Equal(t, "Text", w.Text)
	assert.Equal(t, "in_json", w.Tagged)
	assert.NotEmpty(t, w.Part.Name)
	assert.Equal(t, w, fill.Of[whole](), "the same type gives the same values")
}

func TestZeros(t *testing.T) {
	w := fill.Of[whole]()
	w.Count, w.Inside = 0, ""
	assert.Equal(t, []string{"Inside", "Count", "Next"}, fill.Zeros(&w))
	assert.Equal(t, []string{"Inside", "Count", "Next", "left"}, fill.AllZeros(w))
}

func TestClear(t *testing.T) {
	w := fill.Of[whole]()
	for _, name := range fill.Names[part]() {
		fill.Clear(w.Part, name)
	}
	assert.Equal(t, []string{"Name"}, fill.Zeros(w.Part))
}
