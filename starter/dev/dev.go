// Package dev is `perennial dev`: a whole Perennial on one machine, with a fake
// provider, a Temporal server, a worker that the story kills, and a connection that it
// revokes and repairs.
package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// options of the command.
type options struct {
	dir     string
	forTime time.Duration
	asJSON  bool
}

func (o options) check(args []string) error {
	switch {
	case len(args) > 0:
		return perennial.Errorf(perennial.CodeInvalid, "dev takes no argument, but was given %q; see `perennial dev --help`", args[0])
	case o.dir == "":
		return perennial.Errorf(perennial.CodeInvalid, "--dir is empty: name the folder for the state")
	case o.forTime < 0:
		return perennial.Errorf(perennial.CodeInvalid, "--for is %s: give a time above zero, or leave it out to run until Ctrl-C", o.forTime)
	}
	return nil
}

// Command is `perennial dev`. It dials Temporal with customize; see [wiring.Dial].
func Command(environ []string, customize ...wiring.Customize) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine and watch connections refresh, break and heal",
		Long: "dev runs a Temporal server (or uses the one at TEMPORAL_ADDRESS), a fake provider, a worker and demo connections.\n" +
			"It needs no configuration. One connection is revoked and reconnected, and the worker is killed with SIGKILL in the\n" +
			"middle of a refresh. Its state lives in one folder, so that it carries on after any stop.\n\n" +
			"Ctrl-C (or SIGTERM) ends it. Exit codes: 0 ended after everything was ready; 1 ended before that, or before all that\n" +
			"--for promises had happened, or something else went wrong; 2 a wrong setting: a flag, the folder, no Go to build with;\n" +
			"4 the state folder is in use or damaged; 6 a server does not answer (Temporal, the module proxy): try again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			return run(cmd.Context(), o, environ, customize, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.dir, "dir", ".perennial", "folder of its state; delete it to start afresh")
	cmd.Flags().DurationVar(&o.forTime, "for", 0, "stop this long after everything is ready; 0: at Ctrl-C")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON summary at the end instead of a table; progress goes to standard error")
	return cmd
}

func run(ctx context.Context, o options, environ []string, customize []wiring.Customize, out, errOut io.Writer) (err error) {
	progress := out
	if o.asJSON {
		progress = errOut
	}
	fmt.Fprintln(progress, "Perennial: starting everything on this machine ...")
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return fmt.Errorf("find the state folder: %w", err)
	}
	l, err := lock(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Release()) }()

	s, err := open(ctx, o.dir, environ, customize, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	fmt.Fprintf(progress, "Ready. Temporal UI %s   API %s/v1/openapi.json   state %s\n", s.uiLink(), s.serverURL(), o.dir)
	s.nextSteps(progress)

	story, err := watch(ctx, o, s, progress, out)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "Stopping: the worker finishes what it is doing ...")
	// Ctrl-C must not cancel the audit.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := s.stopWorker(closing); err != nil {
		return err
	}
	sum, err := s.audit(closing, story)
	if err != nil {
		return err
	}
	return sum.print(o, out)
}

// watch shows the connections while the story runs. It stops when ctx ends, o.forTime
// is over or the story fails.
func watch(ctx context.Context, o options, s *stack, progress, out io.Writer) (*story, error) {
	repair := repairAfter
	if !o.asJSON && o.forTime == 0 && terminal(out) {
		repair = repairByHand // a person is watching
	}
	story := newStory(s, progress, repair)
	display := newDisplay(s, story, out, o.asJSON || !terminal(out))
	live, cancel := context.WithCancel(ctx)
	if o.forTime > 0 {
		live, cancel = context.WithTimeout(ctx, o.forTime)
	}
	defer cancel()
	told := make(chan error, 1)
	go func() {
		err := story.run(live)
		if err != nil {
			cancel() // there is nothing more to watch
		}
		told <- err
	}()
	display.run(live)
	return story, <-told
}

// summary is the content of the JSON.
type summary struct {
	Connections           int      `json:"connections"`
	Refreshes             int64    `json:"refreshes"`          // by the database's rows
	OracleRefreshes       int64    `json:"oracle_refreshes"`   // by the provider's books
	HistoryRefreshes      int64    `json:"history_refreshes"`  // by the Temporal histories
	ReconnectRequired     int      `json:"reconnect_required"` // since this start
	Recovered             int      `json:"recovered"`          // since this start
	WorkerKills           int      `json:"worker_kills"`       // since this start
	ConsumedPresentations int      `json:"consumed_presentations"`
	ExpiredBeforeRefresh  int      `json:"expired_before_refresh"`
	Generations           []int64  `json:"generations"`   // by connection
	WorkflowIDs           []string `json:"workflow_ids"`  // by connection
	FirstRunIDs           []string `json:"first_run_ids"` // by connection
	Seconds               float64  `json:"seconds"`       // since readiness
	Missing               []string `json:"missing,omitempty"`
}

// print writes the summary in the form that o selects, and returns what is wrong with
// it.
func (s *summary) print(o options, out io.Writer) error {
	broken := s.broken(o.forTime > 0)
	if !o.asJSON {
		fmt.Fprintf(out, "%d refreshes in all (database %d, provider %d, Temporal histories %d), %d lost its grant and %d recovered, %d worker killed.\nRun it again to carry on from here.\n",
			s.Refreshes, s.Refreshes, s.OracleRefreshes, s.HistoryRefreshes, s.ReconnectRequired, s.Recovered, s.WorkerKills)
		return broken
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(s); err != nil {
		return err
	}
	return broken
}

// broken reports every violated promise; with whole, also each part of the story that
// did not happen.
func (s *summary) broken(whole bool) error {
	check := func(ok bool, what string) {
		if !ok {
			s.Missing = append(s.Missing, what)
		}
	}
	check(s.ConsumedPresentations == 0, "a consumed refresh token was presented again")
	check(s.ExpiredBeforeRefresh == 0, "an access token expired before its refresh")
	check(s.Refreshes == s.OracleRefreshes && s.Refreshes == s.HistoryRefreshes,
		fmt.Sprintf("the counts of refreshes differ: database %d, provider %d, Temporal histories %d", s.Refreshes, s.OracleRefreshes, s.HistoryRefreshes))
	early := len(s.Missing)
	if whole {
		check(s.ReconnectRequired > 0, "no connection was revoked")
		check(s.Recovered > 0, "no connection recovered")
		check(s.WorkerKills > 0, "no worker was killed")
	}
	if len(s.Missing) == 0 {
		return nil
	}
	err := "not the whole story:"
	for _, m := range s.Missing {
		err += "\n  " + m
	}
	if len(s.Missing) > early {
		err += "\n(--for 60s or more leaves time for all of it)"
	}
	return &perennial.Error{Code: perennial.CodeInternal, Message: err}
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
