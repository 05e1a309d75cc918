package perennial_test

import (
	"errors"
	"math"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

func TestNextGeneration(t *testing.T) {
	t.Parallel()
	const gap, most = perennial.MaxGenerationGap, perennial.MaxGeneration
	for name, tt := range map[string]struct{ row, floor, want int64 }{
		"no floor":                         {5, 0, 6},
		"a floor below the row":            {5, 4, 6},
		"a floor above":                    {5, 9, 10},
		"a floor as far as it may be":      {5, 5 + gap, 5 + gap + 1},
		"a floor one further":              {5, 5 + gap + 1, 6},
		"a floor that cannot be":           {5, math.MaxInt64, 6},
		"the last number":                  {most - 1, 0, most},
		"a floor at the last number":       {most - 1, most, most},
		"past the last number":             {most, 0, 1 << 40},
		"a row that a caller's number hit": {math.MaxInt64, math.MaxInt64, 1 << 40},
		"a row that overflowed":            {math.MinInt64, 0, 1},
	} {
		c := perennial.Connection{ID: "c", Generation: tt.row, GenerationFloor: tt.floor}
		next := c.NextGeneration()
		assert.Equal(t, tt.want, next, name)
		assert.NoError(t, c.CheckNext(next), name)
	}
}

// FuzzGeneration: whatever generation a row has, its next one can be stored, and none
// that is far above the row's can be.
func FuzzGeneration(f *testing.F) {
	for _, n := range []int64{0, -1, 1, 10_001, 1 << 53, 1 << 62, math.MaxInt64, math.MinInt64} {
		f.Add(n, n, n)
		f.Add(int64(5), n, n+1)
	}
	f.Fuzz(func(t *testing.T, row, floor, next int64) {
		c := perennial.Connection{ID: "c", Generation: row, GenerationFloor: floor}
		if err := c.CheckNext(c.NextGeneration()); err != nil {
			t.Fatal(err)
		}
		if c.CheckNext(next) != nil || row >= perennial.MaxGeneration {
			return
		}
		if next <= row || next > perennial.MaxGeneration || next-max(row, 0) > perennial.MaxGenerationGap+1 {
			t.Fatalf("%d follows %d", next, row)
		}
	})
}

func TestGenerationAheadError(t *testing.T) {
	t.Parallel()
	var err error = &perennial.GenerationAheadError{Connection: "con_1", Generation: 3}
	assert.Equal(t, perennial.CodeGenerationAhead, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "generation 3")
	ahead, ok := errors.AsType[*perennial.GenerationAheadError](err)
	assert.True(t, ok)
	assert.EqualValues(t, 3, ahead.Generation)
}
