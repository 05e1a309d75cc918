package doctor

import (
	"context"
	"testing"

	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"go.temporal.io/sdk/client"
)

// TestPartsAreWhole: the checks get every source.
func TestPartsAreWhole(t *testing.T) {
	t.Parallel()
	s := fill.Of[Sources]()
	s.Database = func(context.Context) (*db.DB, error) { return nil, nil }
	s.Keys = func(context.Context) (*seal.Keyring, error) { return nil, nil }
	s.Temporal = func(context.Context) (client.Client, error) { return nil, nil }
	s.Binding = func(context.Context, *db.DB, client.Client) (Binding, error) { return Binding{}, nil }
	assert.Empty(t, fill.AllZeros(newParts(t.Context(), s)))
}
