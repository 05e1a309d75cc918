// Command server serves the HTTP API and the pages on which customers connect. It needs
// the same configuration as the worker; run as many as you need.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/wiring"
)

func main() {
	os.Exit(program.Main("server", "server serves Perennial's HTTP API and its connect pages.", wiring.RunServer))
}
