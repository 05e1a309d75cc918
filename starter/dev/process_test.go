package dev_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// folder holds the binaries that the tests of this package build.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "perennial-dev-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder) // a failure leaves only a temporary folder
	os.Exit(code)
}

// program builds the shipped perennial once and returns its path.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "perennial")
	if out, err := exec.Command("go", "build", "-o", path, "..").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build perennial: %w: %s", err, out)
	}
	return path, os.Chmod(folder, 0o755) // other users run it too
})

// patience bounds every wait of a test.
const (
	patience  = 3 * time.Minute
	pollEvery = 5 * time.Millisecond
)

// process is a running `perennial dev`.
type process struct {
	*testing.T
	cmd   *exec.Cmd
	mark  string // in the environment of the process and of everything that it starts
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer // standard output and standard error
}

// Write implements [io.Writer].
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// command returns a `perennial dev` that has not started. It adds environ to this
// process's environment without Temporal's settings.
func command(t *testing.T, dir string, environ []string, args ...string) *process {
	t.Helper()
	p := &process{T: t, mark: "DEV_TEST_MARK=" + rand.Text(), ended: make(chan struct{})} // no PERENNIAL_ prefix: dev does not pass PERENNIAL_* to its children
	path, err := program()
	require.NoError(t, err)
	p.cmd = exec.Command(path, append([]string{"dev", "--dir", dir}, args...)...)
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "TEMPORAL_") }), append(environ, p.mark)...)
	p.cmd.Dir = t.TempDir() // so that it writes nothing into the source folder
	p.cmd.Stdout, p.cmd.Stderr = p, p
	return p
}

func (p *process) start() *process {
	p.Helper()
	require.NoError(p, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState says how it ended
	}()
	p.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended already, unless the test failed
		<-p.ended
	})
	return p
}

// await waits until the output contains text.
func (p *process) await(text string) {
	p.Helper()
	require.Eventually(p, func() bool { return p.has(text) || p.isOver() }, patience, pollEvery, text)
	require.True(p, p.has(text), "it ended without %q:\n%s", text, p.output())
}

func (p *process) has(text string) bool { return strings.Contains(p.output(), text) }

func (p *process) isOver() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) signal(s syscall.Signal) {
	p.Helper()
	require.NoError(p, p.cmd.Process.Signal(s))
}

// exit waits for the end and returns the exit code and the whole output. It fails the
// test if the output holds a stack trace or a process that dev started still runs.
func (p *process) exit() (code int, out string) {
	p.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.Fail(p, "it does not end", p.output())
	}
	out = p.output()
	for _, stack := range []string{"panic:", "goroutine ", "SIGSEGV", "fatal error:"} {
		require.NotContains(p, out, stack)
	}
	require.Eventually(p, func() bool { return len(p.left()) == 0 }, patience, pollEvery, "what it started is left: %v", p.left())
	return p.cmd.ProcessState.ExitCode(), out
}

// left lists the processes that dev started and that still run.
func (p *process) left() []string {
	var left []string
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	assert.NoError(p, err)
	for _, path := range all {
		environ, err := os.ReadFile(path)
		if err != nil { // ended, or another user's
			continue
		}
		if bytes.Contains(environ, []byte(p.mark)) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline")) // for the failure message
			left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}
