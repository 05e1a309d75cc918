package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial/internal/child"
	"github.com/perennial-oauth/perennial/internal/seam"
)

// worker is one real worker process behind proxies of its own. Its spool is on a small
// file system of its own.
type worker struct {
	s            *stack
	name         string
	db, temporal *proxy
	spool        *small
	config       string // file
	database     string // its name; empty: ours
	clock        time.Duration
	binary       string

	mu     sync.Mutex
	cmd    *exec.Cmd
	done   chan struct{}
	wanted bool // supervised: started again whenever it ends
	deaths []time.Time
	stops  []window // in which SIGSTOP had stopped it
}

func (s *stack) newWorker(name string) (*worker, error) {
	w := &worker{s: s, name: name, config: "perennial.yaml", binary: s.binary}
	var err error
	if w.db, err = newProxy(strings.TrimPrefix(strings.Split(s.url(), "/")[2], "perennial@")); err != nil {
		return nil, err
	}
	if w.temporal, err = newProxy(s.temporal.Address); err != nil {
		return nil, err
	}
	if w.spool, err = newSmall(s.dir, "spool-"+name, "512k"); err != nil {
		return nil, err
	}
	s.undo = append(s.undo, w.spool.remove)
	return w, nil
}

func (w *worker) log() string { return filepath.Join(w.s.dir, "worker-"+w.name+".log") }

func (w *worker) start() error {
	f, err := os.OpenFile(w.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w.s.control.forget(w.name)
	w.cmd = exec.Command(w.binary, "--config", w.s.file(w.config))
	database := w.s.url()
	if w.database != "" {
		database = replaceDatabase(database, w.database)
	}
	w.cmd.Env = append(os.Environ(),
		"PERENNIAL_DATABASE_URL="+strings.Replace(database, strings.TrimPrefix(strings.Split(w.s.url(), "/")[2], "perennial@"), w.db.address(), 1),
		"TEMPORAL_ADDRESS="+w.temporal.address(),
		"PERENNIAL_SPOOL="+filepath.Join(w.spool.path, "sets"),
		seam.ControlVariable+"="+w.s.controlURL,
		seam.WorkerVariable+"="+w.name,
		seam.OffVariable+"="+w.s.off,
		seam.ClockVariable+"="+w.clock.String(),
	)
	w.cmd.Stdout, w.cmd.Stderr = f, f
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if w.done, err = child.Start(w.cmd); err != nil {
		return fmt.Errorf("start worker %s: %w", w.name, err)
	}
	return nil
}

// supervise starts the worker, and starts it again whenever it ends by itself. A worker
// that finds a database away at its start exits, and needs a supervisor.
func (w *worker) supervise(want bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = want
}

// look starts a wanted worker that does not run.
func (w *worker) look() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wanted {
		return nil
	}
	if w.cmd != nil {
		select {
		case <-w.done:
		default:
			return nil
		}
	}
	return w.start()
}

func (w *worker) signal(sig syscall.Signal) error { return w.cmd.Process.Signal(sig) }

// kill ends the worker with SIGKILL and proves that this ended it.
func (w *worker) kill() error {
	w.s.control.note("worker " + w.name + " is killed")
	if err := w.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill worker %s: %w", w.name, err)
	}
	<-w.done
	if status := w.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("worker %s ended with %v, not by SIGKILL", w.name, w.cmd.ProcessState)
	}
	w.mu.Lock()
	w.deaths = append(w.deaths, time.Now())
	w.mu.Unlock()
	return nil
}

// stopDuring stops the worker with SIGSTOP while during runs.
func (w *worker) stopDuring(during func()) error {
	if err := w.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	w.mu.Lock()
	w.stops = append(w.stops, window{from: time.Now()})
	at := len(w.stops) - 1
	w.mu.Unlock()
	during()
	w.mu.Lock()
	w.stops[at].to = time.Now()
	w.mu.Unlock()
	return w.signal(syscall.SIGCONT)
}

// terminate asks the worker to stop and waits until it has. One that exited at its
// start, because a server was slow to answer, has already stopped.
func (w *worker) terminate() error {
	err := w.signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("terminate worker %s: %w", w.name, err)
	}
	select {
	case <-w.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("worker %s did not stop within 30 s of SIGTERM", w.name)
	}
}

func (w *worker) end() {
	w.supervise(false)
	if w.cmd == nil {
		return
	}
	_ = w.signal(syscall.SIGCONT)
	_ = w.signal(syscall.SIGKILL)
	<-w.done
}

// keeps reports whether the worker's spool has token sets of a connection.
func (w *worker) keeps(connection string) bool {
	found, _ := filepath.Glob(filepath.Join(w.spool.path, "sets", hex.EncodeToString([]byte(connection))+".*.sealed"))
	return len(found) > 0
}

// spooled counts the token sets in the worker's spool.
func (w *worker) spooled() int {
	found, _ := filepath.Glob(filepath.Join(w.spool.path, "sets", "*.sealed"))
	return len(found)
}
