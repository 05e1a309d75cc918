// Command server is Perennial's program of that name with the platform team's codec and
// interceptors.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/examples/ownprograms/platform"
	"github.com/perennial-oauth/perennial/wiring"
)

func main() { os.Exit(wiring.ServerMain(platform.Customize)) }
