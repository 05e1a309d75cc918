// Command worker runs Perennial's workflows and activities. Platform teams run
// it beside their own workers, or call host.Open and Register on a worker that they
// have; package host shows both on one screen.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/worker/host"
)

func main() {
	os.Exit(program.Main("worker", "worker runs Perennial's workflows and activities.", host.Run))
}
