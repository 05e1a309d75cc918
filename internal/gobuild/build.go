package gobuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/child"
)

// build compiles the program into a folder beside path and renames it to path.
func (p Program) build(ctx context.Context, dir, path string, progress io.Writer) (err error) {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return perennial.Errorf(perennial.CodeInvalid, "%s is built from source, and there is no `go` on the PATH: install Go (https://go.dev/dl): %w", p.Name, err)
	}
	work, err := os.MkdirTemp(dir, "build-*")
	if err != nil {
		return cacheError(dir, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	fmt.Fprintf(progress, "Building %s %s from source, once (a few minutes) ...\n", p.Name, p.Version)
	began := time.Now()
	output, err := p.install(ctx, compiler, work, progress)
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: %w", p.Name, ctx.Err())
	}
	if err != nil {
		return p.explain(dir, output, err)
	}
	fmt.Fprintf(progress, "  built in %s\n", time.Since(began).Round(time.Second))
	if err := os.Rename(filepath.Join(work, filepath.Base(p.Package)), path); err != nil {
		return cacheError(dir, err)
	}
	return nil
}

// command is what compiles the program into the folder work.
func (p Program) command(compiler, work string) (*exec.Cmd, error) {
	if p.Mod == nil {
		cmd := exec.Command(compiler, "install", p.Package+"@"+p.Version)
		cmd.Env = append(os.Environ(), "GOBIN="+work, "GOFLAGS=-mod=mod")
		return cmd, nil
	}
	cmd := exec.Command(compiler, "build", "-o", filepath.Join(work, filepath.Base(p.Package)), p.Package)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	return cmd, errors.Join(os.WriteFile(filepath.Join(work, "go.mod"), p.Mod, 0o600), os.WriteFile(filepath.Join(work, "go.sum"), p.Sum, 0o600))
}

// install compiles the program and returns the compiler's output. When ctx ends, it and
// its compilers end at once.
func (p Program) install(ctx context.Context, compiler, work string, progress io.Writer) (output string, err error) {
	log, err := os.Create(filepath.Join(work, "output"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd, err := p.command(compiler, work)
	if err != nil {
		return "", err
	}
	cmd.Dir = work
	cmd.Stdout, cmd.Stderr = log, log
	// go and its compilers are one process group, so that they end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	done, err := child.Start(cmd)
	if err != nil {
		return "", err
	}
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(progress, "  still building, %s\n", time.Since(began).Round(time.Second))
		case <-ctx.Done():
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended already
			<-done
			return "", ctx.Err()
		case <-done:
			raw, err := os.ReadFile(log.Name())
			if err == nil && !cmd.ProcessState.Success() {
				err = errors.New(cmd.ProcessState.String())
			}
			return string(raw), err
		}
	}
}

// maxOutput is how many bytes at the end of a failed build's output are shown.
const maxOutput = 2000

// causes has what `go install` prints if something outside the program is wrong.
var causes = []struct {
	says   string
	code   perennial.Code
	advice string
}{
	{"GOPROXY=off", perennial.CodeInvalid, "its source cannot be downloaded because GOPROXY is off: unset it"},
	{"no space left on device", perennial.CodeInternal, "the disk is full: free some space (GOCACHE, GOMODCACHE and PERENNIAL_CACHE_DIR say where Go and Perennial write)"},
	{"disk quota exceeded", perennial.CodeInternal, "the disk quota is used up: free some space (GOCACHE, GOMODCACHE and PERENNIAL_CACHE_DIR say where Go and Perennial write)"},
	{"permission denied", perennial.CodeInvalid, "Go cannot write its own folders: set GOCACHE and GOMODCACHE to folders that you can write"},
	{"read-only file system", perennial.CodeInvalid, "Go cannot write its own folders: set GOCACHE and GOMODCACHE to folders that you can write"},
	{"GOCACHE is not defined", perennial.CodeInvalid, "Go has no folder to work in: set HOME, or GOCACHE and GOMODCACHE"},
	{"module cache not found", perennial.CodeInvalid, "Go has no folder to work in: set HOME, or GOCACHE and GOMODCACHE"},
	{"requires go >=", perennial.CodeInvalid, "it needs a newer Go: install one (https://go.dev/dl)"},
	{"dial tcp", perennial.CodeUnavailable, "its source cannot be downloaded: is there a network, and is GOPROXY right?"},
	{"no such host", perennial.CodeUnavailable, "its source cannot be downloaded: is there a network, and is GOPROXY right?"},
	{"i/o timeout", perennial.CodeUnavailable, "its source cannot be downloaded: is there a network, and is GOPROXY right?"},
	{"TLS handshake", perennial.CodeUnavailable, "its source cannot be downloaded: is there a network, and is GOPROXY right?"},
	{"proxyconnect", perennial.CodeUnavailable, "its source cannot be downloaded: is HTTPS_PROXY right?"},
	{"reading http", perennial.CodeUnavailable, "its source cannot be downloaded: is there a network, and is GOPROXY right?"},
}

// explain says why a build failed, and what to do if that is known.
func (p Program) explain(dir, output string, err error) error {
	end := strings.TrimSpace(output[max(0, len(output)-maxOutput):])
	for _, c := range causes {
		if strings.Contains(output, c.says) {
			return perennial.Errorf(c.code, "build %s: %s. Go said:\n%s", p.Name, c.advice, end)
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return cacheError(dir, err)
	}
	return fmt.Errorf("build %s: %w; the end of Go's output:\n%s", p.Name, err, end)
}
