package devserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/child"
)

// Options of a server; Binary and Database are needed.
type Options struct {
	Binary     string
	Database   string   // file that keeps it over a restart
	Attributes []string // keyword search attributes
	Log        string   // file that takes its output; empty: thrown away
	Port       int      // 0: a free one
	UIPort     int      // 0: a free one
}

// Server is a running development server. It ends with the process that
// started it.
type Server struct {
	Address string // of the frontend, for TEMPORAL_ADDRESS
	UI      string // URL

	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// startTimeout bounds the wait for a server that just started.
const startTimeout = 60 * time.Second

// Start runs a server and waits until it answers.
func Start(ctx context.Context, o Options) (*Server, error) {
	var err error
	if o.Port == 0 {
		o.Port, err = freePort()
	}
	if err == nil && o.UIPort == 0 {
		o.UIPort, err = freePort()
	}
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	args := []string{"server", "start-dev", "--ip", "127.0.0.1", "--port", strconv.Itoa(o.Port), "--ui-port", strconv.Itoa(o.UIPort),
		"--db-filename", o.Database, "--log-level", "warn"}
	for _, name := range slices.Sorted(slices.Values(o.Attributes)) {
		args = append(args, "--search-attribute", name+"=Keyword")
	}
	s := &Server{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)), UI: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(o.UIPort)),
		cmd: exec.Command(o.Binary, args...), log: o.Log}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if o.Log != "" {
		f, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open Temporal's log: %w", err)
		}
		defer f.Close()
		s.cmd.Stdout, s.cmd.Stderr = f, f
	}
	if s.done, err = child.Start(s.cmd); err != nil {
		return nil, fmt.Errorf("start Temporal: %w", err)
	}
	if err := s.wait(ctx, o.Binary); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// wait asks the server for its health until it answers.
func (s *Server) wait(ctx context.Context, binary string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		check := exec.CommandContext(ctx, binary, "workflow", "list", "--limit", "1", "--address", s.Address)
		if check.Run() == nil {
			return nil
		}
		select {
		case <-s.done:
			return perennial.Errorf(perennial.CodeUnavailable, "the Temporal server ended at its start; its output is in %s", s.log)
		case <-ctx.Done():
			return perennial.Errorf(perennial.CodeUnavailable, "the Temporal server does not answer at %s after %s; its output is in %s", s.Address, startTimeout, s.log)
		case <-tick.C:
		}
	}
}

// Stop ends the server in an orderly way, or kills it after ten seconds.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop Temporal: %w", err)
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(10 * time.Second):
		return s.Kill()
	}
}

// Kill ends the server at once.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill Temporal: %w", err)
	}
	<-s.done
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
