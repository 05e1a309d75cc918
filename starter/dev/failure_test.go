package dev_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/perennial-oauth/perennial/internal/filelock"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// toBuild returns an environment with the real go, an empty build and module cache, and
// no Temporal.
func toBuild(t *testing.T) []string {
	t.Helper()
	compiler, err := exec.LookPath("go")
	require.NoError(t, err)
	root, err := exec.Command(compiler, "env", "GOROOT").Output()
	require.NoError(t, err)
	return []string{"PATH=" + filepath.Join(strings.TrimSpace(string(root)), "bin"), "PERENNIAL_CACHE_DIR=" + t.TempDir(), "GOMODCACHE=" + t.TempDir(),
		"GOTOOLCHAIN=local", "GOFLAGS=", "GONOSUMDB=*", "GONOPROXY=", "GOPRIVATE="}
}

// script makes an executable called name in a folder of its own, and returns the
// folder.
func script(t *testing.T, name, body string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return dir
}

// fakeTemporal returns an environment whose temporal runs body as its server.
func fakeTemporal(t *testing.T, body string) []string {
	t.Helper()
	return []string{"PATH=" + script(t, "temporal", `[ "$1" = --version ] && { echo temporal version 1.5.1; exit 0; }`+"\n"+body)}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// closedPort returns an address without a listener.
func closedPort(t *testing.T) string {
	t.Helper()
	l := listen(t)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// TestFailures: each failed start exits with its own code and a message that says what
// to do.
func TestFailures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for name, c := range map[string]struct {
		environ []string
		args    []string
		code    int
		says    []string
	}{
		"no network by choice":         {append(toBuild(t), "GOPROXY=off"), nil, 2, []string{"GOPROXY is off: unset it", "or set TEMPORAL_ADDRESS"}},
		"no network":                   {append(toBuild(t), "GOPROXY=http://"+closedPort(t)), nil, 6, []string{"is there a network", "connection refused", "or set TEMPORAL_ADDRESS"}},
		"no such proxy":                {append(toBuild(t), "GOPROXY=http://no-such-host.invalid"), nil, 6, []string{"is there a network", "or set TEMPORAL_ADDRESS"}},
		"no Go":                        {[]string{"PATH=" + t.TempDir(), "PERENNIAL_CACHE_DIR=" + t.TempDir()}, nil, 2, []string{"install Go (https://go.dev/dl)", "or set TEMPORAL_ADDRESS"}},
		"no home":                      {[]string{"PATH=" + t.TempDir(), "HOME=", "XDG_CACHE_HOME=", "PERENNIAL_CACHE_DIR="}, nil, 2, []string{"set HOME or PERENNIAL_CACHE_DIR"}},
		"cache is a file":              {[]string{"PATH=" + t.TempDir(), "PERENNIAL_CACHE_DIR=" + file}, nil, 2, []string{"set PERENNIAL_CACHE_DIR to a folder"}},
		"build that fails":             {[]string{"PATH=" + script(t, "go", "echo the compiler is broken >&2; exit 1"), "PERENNIAL_CACHE_DIR=" + t.TempDir()}, nil, 1, []string{"the compiler is broken", "exit status 1"}},
		"build on a full disk":         {[]string{"PATH=" + script(t, "go", "echo write: no space left on device >&2; exit 1"), "PERENNIAL_CACHE_DIR=" + t.TempDir()}, nil, 1, []string{"the disk is full"}},
		"TEMPORAL_ADDRESS, dead port":  {[]string{"TEMPORAL_ADDRESS=" + closedPort(t)}, nil, 6, []string{"no Temporal server answers at 127.0.0.1:", "TEMPORAL_ADDRESS"}},
		"TEMPORAL_ADDRESS, HTTP":       {[]string{"TEMPORAL_ADDRESS=" + strings.TrimPrefix(other.URL, "http://")}, nil, 6, []string{"no Temporal server answers at 127.0.0.1:", "TEMPORAL_ADDRESS"}},
		"TEMPORAL_ADDRESS, silent":     {[]string{"TEMPORAL_ADDRESS=" + listen(t).Addr().String()}, nil, 6, []string{"no Temporal server answers at 127.0.0.1:", "TEMPORAL_ADDRESS"}},
		"TEMPORAL_ADDRESS, no host":    {[]string{"TEMPORAL_ADDRESS=no-such-host.invalid:7233"}, nil, 6, []string{"no Temporal server answers at no-such-host.invalid:7233", "TEMPORAL_ADDRESS"}},
		"TEMPORAL_ADDRESS, no address": {[]string{"TEMPORAL_ADDRESS=http://[::1"}, nil, 6, []string{"TEMPORAL_ADDRESS"}},
		"Temporal dies":                {fakeTemporal(t, "echo the port is taken >&2; exit 3"), nil, 6, []string{"ended at its start (exit status 3)", "temporal.log", "the port is taken"}},
		"Temporal does not run":        {[]string{"PATH=" + script(t, "temporal", "exit 1"), "PERENNIAL_CACHE_DIR=" + damagedCache(t)}, nil, 2, []string{"does not start (delete it if it is damaged)"}},
		"an argument":                  {nil, []string{"now"}, 2, []string{"perennial dev --help"}},
		"a time below zero":            {nil, []string{"--for", "-5s"}, 2, []string{"--for"}},
		"no folder":                    {nil, []string{"--dir", ""}, 2, []string{"--dir"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out := command(t, t.TempDir(), c.environ, c.args...).start().exit()
			assert.Equal(t, c.code, code, out)
			assert.Contains(t, out, "perennial: ", "its message")
			for _, says := range c.says {
				assert.Contains(t, out, says)
			}
		})
	}
}

// damagedCache returns a cache whose development server cannot run.
func damagedCache(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "temporal-v1.5.1"), []byte("\x7fELF"), 0o755))
	return dir
}

// TestStateFolder: each problem of the state folder has its message.
func TestStateFolder(t *testing.T) {
	t.Parallel()
	const full, damaged = "is full: free some space", "Delete the folder to begin anew"
	put := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		}
	}
	// Each write to /dev/full fails like one to a full disk.
	fill := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Symlink("/dev/full", filepath.Join(dir, name))) }
	}
	garbage := strings.Repeat("this is no database ", 300)
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		code    int
		says    string
	}{
		"damaged state":       {put("dev.json", "{"), 4, damaged},
		"damaged books":       {put("provider.json", "{"), 4, damaged},
		"damaged database":    {put("perennial.db", garbage), 4, damaged},
		"damaged keys":        {put("keys/refresh.keyset.json", "{"), 4, damaged},
		"one key of two":      {put("keys/access.keyset.json", keyset(t)), 4, damaged},
		"damaged secret":      {put("secrets/hubspot", ""), 4, damaged},
		"full: state":         {fill("dev.json.new"), 1, full},
		"full: configuration": {fill("perennial.yaml"), 1, full},
		"a folder that is a secret": {func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "secrets", "hubspot"), 0o700))
		}, 4, damaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c.prepare(t, dir)
			code, out := command(t, dir, []string{"TEMPORAL_ADDRESS=" + closedPort(t)}).start().exit()
			assert.Equal(t, c.code, code, out)
			assert.Contains(t, out, c.says)
			assert.Contains(t, out, dir)
		})
	}
	t.Run("a file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		code, out := command(t, file, nil).start().exit()
		assert.Equal(t, 2, code, out)
		assert.Contains(t, out, "name another one with --dir")
	})
	t.Run("others can write", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o777))
		code, out := command(t, dir, nil).start().exit()
		assert.Equal(t, 2, code, out)
		assert.Contains(t, out, "chmod o-w,g-w "+dir)
	})
	t.Run("in use", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		l, err := filelock.Try(filepath.Join(dir, "lock"), "runs perennial dev")
		require.NoError(t, err)
		code, out := command(t, dir, nil).start().exit()
		require.NoError(t, l.Release())
		assert.Equal(t, 4, code, out)
		assert.Contains(t, out, "another perennial dev works in "+dir)
	})
}

// keyset returns a valid keyset.
func keyset(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, seal.Generate(dir, nil, true))
	raw, err := os.ReadFile(filepath.Join(dir, "access.keyset.json"))
	require.NoError(t, err)
	return string(raw)
}

// TestReadOnly runs as a user who can write nowhere, and then as one who can write the
// state but not the cache.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	home := t.TempDir() // owned by this user; readable by others
	require.NoError(t, os.Chmod(filepath.Dir(home), 0o755))
	readOnly := func(dir string) *process {
		p := command(t, dir, []string{"PATH=" + t.TempDir(), "HOME=" + home, "XDG_CACHE_HOME=", "PERENNIAL_CACHE_DIR="})
		if os.Getuid() == 0 {
			p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		} else {
			require.NoError(t, os.Chmod(home, 0o555))
			t.Cleanup(func() { _ = os.Chmod(home, 0o755) })
		}
		return p.start()
	}
	code, out := readOnly(filepath.Join(home, ".perennial")).exit()
	assert.Equal(t, 2, code, out)
	assert.Contains(t, out, "name a folder that you can write with --dir")

	state := t.TempDir()
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(state, 65534, 65534))
	}
	code, out = readOnly(state).exit()
	assert.Equal(t, 2, code, out)
	assert.Contains(t, out, "set PERENNIAL_CACHE_DIR to a folder that you can write")
}

// TestInterruptedWaits: Ctrl-C ends each long wait of a start, always with the same
// exit code and a true message.
func TestInterruptedWaits(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	held, err := filelock.Try(filepath.Join(cache, "build.lock"), "builds temporal v1.5.1")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, held.Release()) })
	silent := listen(t)
	for name, c := range map[string]struct {
		environ []string
		await   string // text in the output, or a file in the state folder
	}{
		"another build":        {[]string{"PATH=" + t.TempDir(), "PERENNIAL_CACHE_DIR=" + cache}, "Waiting to build temporal v1.5.1: process "},
		"a build":              {[]string{"PATH=" + script(t, "go", "echo downloading; /bin/sleep 600 & /bin/sleep 600"), "PERENNIAL_CACHE_DIR=" + t.TempDir()}, "Building temporal v1.5.1 from source"},
		"Temporal":             {fakeTemporal(t, "exec /bin/sleep 600"), "temporal.log"},
		"TEMPORAL_ADDRESS":     {[]string{"TEMPORAL_ADDRESS=" + silent.Addr().String()}, "perennial.db-wal"},
		"temporal on the PATH": {[]string{"PATH=" + script(t, "temporal", "exec /bin/sleep 600")}, "perennial.db-wal"},
	} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+", "+signal.String(), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				p := command(t, dir, c.environ).start()
				require.Eventually(t, func() bool { return p.has(c.await) || exists(filepath.Join(dir, c.await)) || p.isOver() }, patience, pollEvery)
				p.signal(signal)
				code, out := p.exit()
				assert.Equal(t, 1, code, out)
				assert.Contains(t, out, "perennial: stopped before everything was ready ("+signal.String()+" signal received): run it again to carry on\n")
				assert.NotContains(t, out, "after 1m0s")
			})
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
