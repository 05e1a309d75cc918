package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/child"
)

// process is that of the worker or of the server.
type process struct {
	what string
	cmd  *exec.Cmd
	done chan struct{}
	log  *child.Log
}

// ended says why p is not there any more, and is nil while it is.
func (p *process) ended() error {
	select {
	case <-p.done:
		return perennial.Errorf(perennial.CodeUnavailable, "the %s ended at its start (%s)%s", p.what, p.cmd.ProcessState, p.log.Tail())
	default:
		return nil
	}
}

// launch runs this very program as another: as a worker, so that it can be killed,
// or as a server.
func (s *stack) launch(what string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	log, err := child.OpenLog(s.path(what + ".log"))
	if err != nil {
		return nil, folderError(s.dir, fmt.Errorf("start the %s: %w", what, err))
	}
	defer log.Close()
	cmd := exec.Command(self, what, "--config", s.path("perennial.yaml"))
	cmd.Env = s.ownEnviron()
	cmd.Stdout, cmd.Stderr = log.File, log.File // files, so that nothing is copied
	// Of a group of its own: Ctrl-C is for dev, which then stops it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done, err := child.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", what, err)
	}
	return &process{what, cmd, done, log}, nil
}

// killWorker kills the worker with SIGKILL and starts another. It returns how
// the first one ended.
func (s *stack) killWorker() (syscall.WaitStatus, error) {
	if err := s.worker.cmd.Process.Kill(); err != nil {
		return 0, fmt.Errorf("kill the worker: %w", err)
	}
	<-s.worker.done
	status := s.worker.cmd.ProcessState.Sys().(syscall.WaitStatus)
	next, err := s.launch("worker")
	if err == nil {
		s.worker = next
	}
	return status, err
}

// stopWorker ends the worker in an orderly way.
func (s *stack) stopWorker(ctx context.Context) error {
	w := s.worker
	s.worker = nil
	return w.stop(ctx)
}

// stop ends the process in an orderly way, or kills it when ctx ends. There may be
// none.
func (p *process) stop(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the %s: %w", p.what, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the %s: %w", p.what, err)
	}
	<-p.done
	return fmt.Errorf("the %s did not stop and was killed%s", p.what, p.log.Tail())
}
