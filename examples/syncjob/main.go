// Command syncjob is an example of a job that writes records to a provider's API, for
// example a cron job or one that a queue starts. It can use an access token as long as
// the connection lives, and never sees it.
//
// Its records are the files of a folder, each the body of one POST. The file's name is
// the Idempotency-Key, so the provider writes a record once even if it is sent twice.
// The job removes a file when the provider has accepted it. So the folder always holds
// the remaining work, whatever ended the job:
//
//	PERENNIAL_URL=https://perennial.example PERENNIAL_KEY=pk_... \
//	go run ./examples/syncjob -connection con_... -to https://api.provider.example/orders ./outbox
//
// The key needs the scope tokens:read. The exit codes are those of the perennial
// command: 0 everything is written; 6 not possible now, run it again at the printed
// time; 5 the customer has to reconnect, and the rest waits until then; 1 another
// failure, which a person must look at.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "syncjob:", advice(err))
	}
	os.Exit(exitCode(err))
}

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	flags := flag.NewFlagSet("syncjob", flag.ContinueOnError)
	connection := flags.String("connection", "", "id of the connection")
	to := flags.String("to", "", "URL of the provider's API that takes the records")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || *connection == "" || *to == "" {
		return errors.New("give -connection, -to and the folder of records")
	}
	backend, err := remote.New(remote.Config{URL: getenv("PERENNIAL_URL"), Key: perennial.NewSecret(getenv("PERENNIAL_KEY"))})
	if err != nil {
		return err
	}
	tokens, err := client.New(client.Config{Backend: backend})
	if err != nil {
		return err
	}
	defer tokens.Close()

	api := tokens.HTTPClient(*connection) // adds the token, and after a 401 retries once with a new one
	api.Timeout = 30 * time.Second
	s := &syncer{api: api, url: *to, out: out}
	return s.run(ctx, flags.Arg(0))
}

// advice tells the reader of the job's log what to do. http.Client wraps the errors of
// the transport; errors.As finds them.
func advice(err error) string {
	var reconnect *client.ErrReconnectRequired
	var later *client.ErrUnavailable
	switch {
	case errors.As(err, &reconnect) && reconnect.ReconnectURL != "":
		return fmt.Sprintf("put aside: %s. Run it again when the customer has reconnected at %s", reconnect.Words, reconnect.ReconnectURL)
	case errors.As(err, &reconnect):
		return fmt.Sprintf("put aside: %s. Run it again when the customer has reconnected", reconnect.Words)
	case errors.As(err, &later):
		return fmt.Sprintf("not now, run it again at %s: %v", later.RetryAt.UTC().Format(time.RFC3339), err)
	case errors.Is(err, errNoAnswer):
		return fmt.Sprintf("not now, run it again in a minute: %v", err)
	}
	return err.Error()
}

func exitCode(err error) int {
	var reconnect *client.ErrReconnectRequired
	var later *client.ErrUnavailable
	switch {
	case err == nil:
		return 0
	case errors.As(err, &reconnect):
		return 5
	case errors.As(err, &later), errors.Is(err, errNoAnswer):
		return 6
	}
	return 1
}
