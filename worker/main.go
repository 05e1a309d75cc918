// Command worker runs Perennial's workflows and activities. Platform teams run
// it beside their own workers, or call wiring.Open and Register on a worker of their
// own; package wiring shows both on one screen.
package main

import (
	"os"

	"github.com/perennial-oauth/perennial/wiring"
)

func main() {
	os.Exit(wiring.WorkerMain())
}
