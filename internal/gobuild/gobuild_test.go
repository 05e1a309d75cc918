package gobuild

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/filelock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	waitFor = 30 * time.Second
	tick    = 5 * time.Millisecond
)

var tool = Program{Name: "tool", Package: "example.com/cmd/tool", Version: "v1.2.3"}

// environment puts a go command that runs body on PATH and returns an empty cache.
func environment(t *testing.T, body string) (cache string) {
	t.Helper()
	bin, cache := t.TempDir(), t.TempDir()
	if body != "" {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	}
	t.Setenv("PATH", bin)
	t.Setenv("PERENNIAL_CACHE_DIR", cache)
	return cache
}

const installs = `echo '#!/bin/sh' >"$GOBIN/tool"; /bin/chmod +x "$GOBIN/tool"`

// output keeps what is written. It is safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
	on func(string) // called with each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on != nil {
		o.on(string(p))
	}
	return o.b.Write(p)
}

// TestWaitsForAnotherBuild: one line says which process builds. The wait ends with that
// process's program, or with ctx.
func TestWaitsForAnotherBuild(t *testing.T) {
	cache := environment(t, "exit 1")
	held, err := filelock.Try(filepath.Join(cache, "build.lock"), "builds another v2")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	out := &output{on: func(string) { cancel() }}
	_, err = tool.Path(ctx, out)
	require.ErrorIs(t, err, context.Canceled)
	assert.Regexp(t, `^Waiting to build tool v1\.2\.3: process \d+ \(builds another v2\) holds the lock `+cache+`/build\.lock \.\.\.\n$`, out.b.String())

	built := &output{on: func(string) {
		assert.NoError(t, os.WriteFile(filepath.Join(cache, "tool-v1.2.3"), nil, 0o755))
		assert.NoError(t, held.Release())
	}}
	path, err := tool.Path(t.Context(), built)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(cache, "tool-v1.2.3"), path)
	assert.NotContains(t, built.b.String(), "Building")
}

// TestBuild: Path builds once and leaves no other file beside the program.
func TestBuild(t *testing.T) {
	cache := environment(t, installs)
	out := &output{}
	path, err := tool.Path(t.Context(), out)
	require.NoError(t, err)
	assert.Contains(t, out.b.String(), "Building tool v1.2.3 from source")
	again := &output{}
	_, err = tool.Path(t.Context(), again)
	require.NoError(t, err)
	assert.Empty(t, again.b.String())
	all, err := filepath.Glob(filepath.Join(cache, "*"))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{path, filepath.Join(cache, "build.lock")}, all)
}

// TestBuildOfAModule: a program with a go.mod of its own is built inside of that module,
// without a C compiler, and nothing of the module stays.
func TestBuildOfAModule(t *testing.T) {
	cache := environment(t, `[ "$1 $2 $4" = "build -o example.com/cmd/tool" ] || exit 1
[ "$GOFLAGS$CGO_ENABLED" = "-mod=readonly0" ] || exit 1
/bin/cat go.mod go.sum >"$3" && /bin/chmod +x "$3"`)
	replaced := tool
	replaced.Mod, replaced.Sum = []byte("module tool\n"), []byte("example.com v1.2.3 h1:=\n")
	path, err := replaced.Path(t.Context(), &output{})
	require.NoError(t, err)
	built, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "module tool\nexample.com v1.2.3 h1:=\n", string(built))
	all, err := filepath.Glob(filepath.Join(cache, "*"))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{path, filepath.Join(cache, "build.lock")}, all)
}

// TestBuildIsEnded: no process that go started outlives ctx.
func TestBuildIsEnded(t *testing.T) {
	cache := environment(t, `/bin/sleep 600 & echo $! >"$PERENNIAL_CACHE_DIR/compiler"; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := tool.Path(ctx, &output{})
		ended <- err
	}()
	compiler := filepath.Join(cache, "compiler")
	require.Eventually(t, func() bool { raw, _ := os.ReadFile(compiler); return bytes.HasSuffix(raw, []byte("\n")) }, waitFor, tick)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	pid, err := os.ReadFile(compiler)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		line, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "cmdline"))
		return err != nil || !strings.Contains(string(line), "sleep")
	}, waitFor, tick)
	left, err := filepath.Glob(filepath.Join(cache, "build-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestFailuresSayWhatToDo uses the go command's real messages.
func TestFailuresSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		said string
		code perennial.Code
		says string
	}{
		{`module example.com: module lookup disabled by GOPROXY=off`, perennial.CodeInvalid, "unset it"},
		{`Get "https://proxy.example/": dial tcp: lookup proxy.example on 127.0.0.53:53: no such host`, perennial.CodeUnavailable, "is there a network"},
		{`Get "https://proxy.example/": dial tcp 192.0.2.1:443: i/o timeout`, perennial.CodeUnavailable, "is there a network"},
		{`Get "https://proxy.example/": net/http: TLS handshake timeout`, perennial.CodeUnavailable, "is there a network"},
		{`Get "https://proxy.example/": proxyconnect tcp: EOF`, perennial.CodeUnavailable, "HTTPS_PROXY"},
		{`reading http://proxy.example/: 503 Service Unavailable`, perennial.CodeUnavailable, "is there a network"},
		{`write /tmp/go-build1/b001/_pkg_.a: no space left on device`, perennial.CodeInternal, "free some space"},
		{`mkdir /root/go: permission denied`, perennial.CodeInvalid, "GOMODCACHE"},
		{`build cache is required, but could not be located: GOCACHE is not defined and neither $XDG_CACHE_HOME nor $HOME are defined`, perennial.CodeInvalid, "set HOME"},
		{`example.com@v1.2.3 requires go >= 1.99 (running go 1.26)`, perennial.CodeInvalid, "newer Go"},
		{`undefined: something`, perennial.CodeInternal, "exit status 1"},
	} {
		environment(t, "echo '"+c.said+"' >&2; exit 1")
		_, err := tool.Path(t.Context(), &output{})
		assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
		require.ErrorContains(t, err, c.says)
		require.ErrorContains(t, err, c.said)
		assert.Regexp(t, "^build tool: ", err.Error())
	}
	environment(t, "")
	_, err := tool.Path(t.Context(), &output{})
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "install Go")
}
