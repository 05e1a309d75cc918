// Command temporal-path prints the path of a Temporal development server,
// building it where there is none.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/perennial-oauth/perennial/internal/devserver"
)

func main() {
	path, err := devserver.Path(context.Background(), os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "temporal-path:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
