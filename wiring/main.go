package wiring

import (
	"context"
	"io"

	"github.com/perennial-oauth/perennial/internal/program"
)

// WorkerMain is the main function of the program worker, and of a platform team's own:
// it reads the command line and the environment, calls [RunWorker], and returns the exit
// code.
func WorkerMain(customize ...Customize) int {
	return program.Main("worker", "worker runs Perennial's workflows and activities.", with(RunWorker, customize))
}

// ServerMain is the main function of the program server, and of a platform team's own;
// see [WorkerMain] and [RunServer].
func ServerMain(customize ...Customize) int {
	return program.Main("server", "server serves Perennial's HTTP API and its connect pages.", with(RunServer, customize))
}

func with(run func(context.Context, []string, []string, io.Writer, ...Customize) error, customize []Customize) program.Run {
	return func(ctx context.Context, args, environ []string, logs io.Writer) error {
		return run(ctx, args, environ, logs, customize...)
	}
}
