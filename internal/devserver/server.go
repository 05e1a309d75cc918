package devserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/child"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// Options of a server. Binary and Database are required.
type Options struct {
	Binary     string
	Database   string   // file that survives a restart
	Attributes []string // keyword search attributes
	Log        string   // file for the output; empty: discarded
	Port       int      // 0: any free port
	UIPort     int      // 0: any free port
}

// Server is a running development server. It ends with the process that started it.
type Server struct {
	Address string // of the frontend, for TEMPORAL_ADDRESS
	UI      string // URL

	cmd  *exec.Cmd
	done chan struct{}
	log  *child.Log // nil: the output is discarded
}

// startTimeout bounds the wait for a server that just started.
const startTimeout = 60 * time.Second

// Start runs a server and waits until it answers. If another process takes a free port
// before the server listens there, Start looks for another one.
func Start(ctx context.Context, o Options) (s *Server, err error) {
	const tries = 3
	for range tries {
		s, err = start(ctx, o)
		if err == nil || o.Port != 0 && o.UIPort != 0 || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return s, err
}

// start is one try of [Start].
func start(ctx context.Context, o Options) (*Server, error) {
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
		"--db-filename", filepath.Base(o.Database), "--log-level", "warn"}
	for _, name := range slices.Sorted(slices.Values(o.Attributes)) {
		args = append(args, "--search-attribute", name+"=Keyword")
	}
	s := &Server{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)), UI: "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(o.UIPort)),
		cmd: exec.Command(o.Binary, args...)}
	s.cmd.Dir = filepath.Dir(o.Database) // the server reads the name as a URL, where a % or # in the folder's name has a meaning
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if o.Log != "" {
		if s.log, err = child.OpenLog(o.Log); err != nil {
			return nil, fmt.Errorf("start Temporal: %w", err)
		}
		defer s.log.Close()
		s.cmd.Stdout, s.cmd.Stderr = s.log.File, s.log.File // a file, so that no goroutine copies the output
	}
	_, missing := os.Stat(o.Database)
	isNew := errors.Is(missing, os.ErrNotExist)
	if s.done, err = child.Start(s.cmd); err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "%s does not start (delete it if it is damaged): %w", o.Binary, err)
	}
	if err := s.wait(ctx); err != nil {
		err = errors.Join(err, s.Kill())
		if isNew {
			err = errors.Join(err, remove(o.Database))
		}
		return nil, err
	}
	return s, nil
}

// remove deletes the database of a server that ended while it created it: no server
// completes a partial schema.
func remove(database string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(database + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove Temporal's database: %w", err)
		}
	}
	return nil
}

// wait returns when the server answers or ends, ctx ends, or startTimeout is over.
func (s *Server) wait(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		answered := s.answers(limited)
		select {
		case <-s.done: // another process answered at this port
			return perennial.Errorf(perennial.CodeUnavailable, "the Temporal server ended at its start (%s)%s", s.cmd.ProcessState, s.log.Tail())
		default:
		}
		if answered {
			return nil
		}
		select {
		case <-s.done:
		case <-limited.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("wait for the Temporal server: %w", ctx.Err())
			}
			return perennial.Errorf(perennial.CodeUnavailable, "the Temporal server does not answer at %s after %s%s", s.Address, startTimeout, s.log.Tail())
		case <-tick.C:
		}
	}
}

// answerTimeout bounds one request to a server that may not listen yet.
const answerTimeout = 5 * time.Second

// answers reports whether the workflows of the default namespace can be listed.
func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, client.Options{HostPort: s.Address, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1})
	return err == nil
}

// Stop asks the server to end, and kills it after ten seconds.
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
