// Command server serves the HTTP API and the pages on which customers connect. It needs
// the same configuration as the worker; run as many as you need.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/wiring"
)

func main() {
	os.Exit(wiring.ServerMain())
}
