package connect

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
)

// TestGoldenReply: the token reply as a connect session keeps it, before it is sealed.
func TestGoldenReply(t *testing.T) {
	t.Parallel()
	golden.JSON(t, "reply", fill.Of[plain]())
	golden.JSON(t, "bytes", []octets{"text", "\xff\x00"})
}

func TestGoldenColumns(t *testing.T) {
	t.Parallel()
	golden.Columns(t, golden.Tags(sessionRow{}))
}
