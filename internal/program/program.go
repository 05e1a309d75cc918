// Package program has what the programs share: flags, --help, --version and exit codes.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	"github.com/perennial-oauth/perennial/internal/version"
	"go.temporal.io/api/serviceerror"
)

// The exit codes of every program.
const (
	ExitDone        = 0
	ExitOther       = 1 // any other error
	ExitUsage       = 2 // wrong usage or settings
	ExitNotFound    = 3 // no such connection
	ExitRefused     = 4 // refused because of the stored state
	ExitUser        = 5 // only the user can help: reconnect or resume
	ExitUnavailable = 6 // a server does not answer; try again
)

var exitCodes = map[perennial.Code]int{
	perennial.CodeInvalid:           ExitUsage,
	perennial.CodeNotFound:          ExitNotFound,
	perennial.CodeConflict:          ExitRefused,
	perennial.CodeAccountMismatch:   ExitRefused,
	perennial.CodeGenerationAhead:   ExitRefused,
	perennial.CodeSchema:            ExitRefused,
	perennial.CodeSealed:            ExitRefused,
	perennial.CodeReconnectRequired: ExitUser,
	perennial.CodePaused:            ExitUser,
	perennial.CodeDisconnected:      ExitUser,
	perennial.CodeUnavailable:       ExitUnavailable,
}

// ExitCode returns the exit code of a program that ends with err.
func ExitCode(err error) int {
	if err == nil {
		return ExitDone
	}
	if code, ok := exitCodes[perennial.CodeOf(err)]; ok {
		return code
	}
	if unreachable.Is(err) {
		return ExitUnavailable
	}
	var namespace *serviceerror.NamespaceNotFound
	var denied *serviceerror.PermissionDenied
	if errors.As(err, &namespace) || errors.As(err, &denied) {
		return ExitUsage // TEMPORAL_NAMESPACE, TEMPORAL_API_KEY
	}
	return ExitOther
}

// Run runs a program until it ends or a signal ends ctx. It writes its log to logs.
type Run func(ctx context.Context, args, environ []string, logs io.Writer) error

// Options are the command-line options of a worker or a server.
type Options struct {
	Config  string // path of the configuration file
	Help    bool
	Version bool

	usage string
}

// Parse reads the command line of the program called name. An unknown flag or an
// argument is an error of [perennial.CodeInvalid].
func Parse(name string, args []string) (Options, error) {
	var o Options
	var usage strings.Builder
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.Config, "config", "perennial.yaml", "path of the configuration file")
	flags.BoolVar(&o.Version, "version", false, "print the version and the commit, and end")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.Help = true
		flags.SetOutput(&usage)
		flags.PrintDefaults()
		o.usage = usage.String()
	case err != nil:
		return o, perennial.Errorf(perennial.CodeInvalid, "%w; see `%s --help`", err, name)
	case flags.NArg() > 0:
		return o, perennial.Errorf(perennial.CodeInvalid, "it takes no argument, and %q is one; see `%s --help`", flags.Arg(0), name)
	}
	return o, nil
}

// VersionLine returns what --version prints.
func VersionLine(name string) string { return name + " " + version.Get().String() + "\n" }

// Main runs the program called name and returns its exit code. about says what the
// program does, for --help. Ctrl-C and SIGTERM end run's ctx.
func Main(name, about string, run Run) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, name, about, os.Args[1:], os.Environ(), os.Stdout, os.Stderr, run)
}

func execute(ctx context.Context, name, about string, args, environ []string, out, errOut io.Writer, run Run) int {
	o, err := Parse(name, args)
	switch {
	case err != nil:
	case o.Help:
		fmt.Fprintf(out, "%s\n\nUsage: %s [flags]\n\n%s\nExit codes: 0 done; 1 something else; 2 wrong usage or settings; 4 refused because of what is stored; 6 a server does not answer, try again.\n", about, name, o.usage)
	case o.Version:
		fmt.Fprint(out, VersionLine(name))
	default:
		err = run(ctx, args, environ, errOut)
	}
	if err != nil {
		fmt.Fprintf(errOut, "%s: %v\n", name, err)
	}
	return ExitCode(err)
}
