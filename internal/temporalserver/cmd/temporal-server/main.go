// Command temporal-server prints the path of the pinned Temporal server, building
// it where there is none.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/perennial-oauth/perennial/internal/temporalserver"
)

func main() {
	path, _, err := temporalserver.Prepare(context.Background(), os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporal-server:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
