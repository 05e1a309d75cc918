package foreign

import (
	_ "embed"

	"github.com/perennial-oauth/perennial/internal/gobuild"
)

// The module that Hydra is built in. Hydra's own replaces modules, which counts in a main
// module only, so that go install refuses it. To write hydra.sum anew, copy the two as
// go.mod and go.sum into an empty folder and run go mod tidy there.
var (
	//go:embed hydra.mod
	hydraMod []byte
	//go:embed hydra.sum
	hydraSum []byte
)

// Hydra is the pinned Ory Hydra. Its newest release that is a Go module is this one.
var Hydra = gobuild.Program{Name: "hydra", Package: "github.com/ory/hydra/v2", Version: "v2.3.0", Mod: hydraMod, Sum: hydraSum}
