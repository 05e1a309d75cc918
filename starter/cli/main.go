package cli

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

// Main runs the command line and returns the exit code. Ctrl-C and SIGTERM end it.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(printable.NewWriter(os.Stderr), "perennial:", err)
	}
	return program.ExitCode(err)
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
