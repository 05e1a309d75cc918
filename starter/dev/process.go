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

// process is a running worker or server.
type process struct {
	what string
	cmd  *exec.Cmd
	done chan struct{}
	log  *child.Log
}

// ended returns why p has ended, or nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
		return perennial.Errorf(perennial.CodeUnavailable, "the %s ended at its start (%s)%s", p.what, p.cmd.ProcessState, p.log.Tail())
	default:
		return nil
	}
}

// launch runs this same program as a child process: as a worker, which the story can
// kill, or as a server.
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
	cmd.Stdout, cmd.Stderr = log.File, log.File // files, so exec needs no goroutine that copies
	// Give it its own process group: Ctrl-C must reach only dev, which then stops the
	// child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done, err := child.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", what, err)
	}
	return &process{what, cmd, done, log}, nil
}

// killWorker kills the worker with SIGKILL and starts another. It returns the wait
// status of the first.
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

// stopWorker stops the worker gracefully.
func (s *stack) stopWorker(ctx context.Context) error {
	w := s.worker
	s.worker = nil
	return w.stop(ctx)
}

// stop stops the process gracefully, or kills it when ctx ends. p may be nil.
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
