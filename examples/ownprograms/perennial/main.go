// Command perennial is Perennial's command line with the platform team's codec and
// interceptors.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/examples/ownprograms/platform"
	"github.com/perennial-oauth/perennial/starter/cli"
)

func main() { os.Exit(cli.Main(platform.Customize)) }
