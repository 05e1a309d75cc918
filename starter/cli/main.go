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
	"github.com/perennial-oauth/perennial/wiring"
)

// Main runs the command line and returns the exit code. Ctrl-C and SIGTERM end it. It
// dials Temporal with customize; see [wiring.Dial].
func Main(customize ...wiring.Customize) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr, customize...)
	if err != nil {
		fmt.Fprintln(printable.NewWriter(os.Stderr), "perennial:", err)
	}
	return program.ExitCode(err)
}

// Run executes one command line. environ is in the form of os.Environ. It escapes the
// output for a terminal, because the output may hold text of customers and providers.
func Run(ctx context.Context, args, environ []string, in io.Reader, out, errOut io.Writer, customize ...wiring.Customize) error {
	cmd := newCommand(&shell{environ: environ, customize: customize, in: in, out: printable.NewWriter(out), errOut: errOut, isTerminal: isTerminal})
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	return cmd.ExecuteContext(ctx)
}
