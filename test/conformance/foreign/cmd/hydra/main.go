// Command hydra prints the path of the pinned Ory Hydra. It builds the
// server if there is none.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/perennial-oauth/perennial/test/conformance/foreign"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	path, err := foreign.Hydra.Path(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hydra:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
