package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial/internal/child"
)

// process is a worker or the provider. It serves /readyz and dies with bench.
type process struct {
	cmd  *exec.Cmd
	url  string
	done chan struct{}
}

// spawn starts a program that listens at address and writes its output to a log, and
// waits until it is ready.
func spawn(ctx context.Context, logs, address string, environ []string, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(program, args...), url: "http://" + address}
	p.cmd.Env = append(os.Environ(), environ...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.done, err = child.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	err = until(ctx, time.Minute, 50*time.Millisecond, func() (bool, error) {
		select {
		case <-p.done:
			text, _ := os.ReadFile(logs)
			return false, fmt.Errorf("%s ended at its start: %s", filepath.Base(program), text[max(0, len(text)-2000):])
		default:
		}
		return p.get(ctx, "/readyz", nil) == nil, nil
	})
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("wait for %s: %w", filepath.Base(program), err)
	}
	return p, nil
}

// kill ends the process at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// terminate asks the process to end, as a deploy does, and waits for it.
func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("%s does not end", filepath.Base(p.cmd.Path))
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// get decodes a JSON answer into out, which may be nil.
func (p *process) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return err
	}
	return answer(req, out)
}

func answer(req *http.Request, out any) error {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("%s answers %d: %s", req.URL, res.StatusCode, text)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// serve serves a hidden process until ctx ends. Its /readyz answers that the process
// runs.
func serve(ctx context.Context, listen string, mux *http.ServeMux) error {
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func respond(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the caller has gone
}

// freeAddress returns an address at which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// until calls yes every so often until it returns true, at most for patience.
func until(ctx context.Context, patience, every time.Duration, yes func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := yes()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not so within %s: %w", patience, ctx.Err())
		case <-tick.C:
		}
	}
}

// pass waits while the measured time passes. The driver is idle.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
