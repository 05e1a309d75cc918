// Command temporal-server prints the path of the pinned Temporal server. It builds the
// server if there is none.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/perennial-oauth/perennial/internal/temporalserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	path, _, err := temporalserver.Prepare(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporal-server:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
