// Command temporal-path prints the path of a Temporal development server. It builds the
// server if there is none.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/perennial-oauth/perennial/internal/devserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	path, err := devserver.Path(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporal-path:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
