// Command perennial is for people: it migrates the database, makes keys, connects
// accounts, looks after connections, and runs a whole demonstration (dev).
//
// Exit codes: 0 done; 1 another failure; 2 wrong usage or settings; 3 no such
// connection; 4 refused because of the stored state; 5 only the user can help
// (reconnect, resume); 6 a server does not answer, try again.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/internal/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(printable.NewWriter(os.Stderr), "perennial:", err)
	}
	os.Exit(program.ExitCode(err))
}

// run executes one command line; tests start the program here. It escapes the output
// for a terminal, because the output may hold text of customers and providers.
func run(ctx context.Context, args, environ []string, in io.Reader, out, errOut io.Writer) error {
	cmd := newCommand(&shell{environ: environ, in: in, out: printable.NewWriter(out), errOut: errOut, isTerminal: isTerminal})
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	return cmd.ExecuteContext(ctx)
}
