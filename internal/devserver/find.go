// Package devserver finds or builds Temporal's development server, and runs it.
package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
)

// Version is the pinned release of Temporal's command line that is built where
// none is found. Later ones cannot be installed as a Go tool.
const Version = "v1.5.1"

// The oldest release on PATH that is used: earlier ones lack current details.
var oldest = [3]int{1, 3, 0}

// Path returns a development server's program: the one on PATH if it is recent
// enough, else the pinned one from the cache, else the pinned one built from
// source, once, with progress told. Several processes may ask at once.
func Path(ctx context.Context, progress io.Writer) (string, error) {
	if path, err := exec.LookPath("temporal"); err == nil {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if version, ok := parseVersion(string(out)); err == nil && ok && !before(version, oldest) {
			return path, nil
		}
		fmt.Fprintf(progress, "The temporal on PATH is older than %d.%d or does not say its version; the pinned one is used.\n", oldest[0], oldest[1])
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "temporal-"+Version)
	if runnable(path) {
		return path, nil
	}
	return path, locked(filepath.Join(dir, "build.lock"), func() error {
		if runnable(path) {
			return nil // built by another process meanwhile
		}
		return build(ctx, dir, path, progress)
	})
}

func cacheDir() (string, error) {
	dir := os.Getenv("PERENNIAL_CACHE_DIR")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", perennial.Errorf(perennial.CodeInvalid, "no place to keep the Temporal server: set PERENNIAL_CACHE_DIR: %w", err)
		}
		dir = filepath.Join(base, "perennial")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	return dir, nil
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o100 != 0
}

var versionForm = regexp.MustCompile(`version (\d+)\.(\d+)\.(\d+)`)

// parseVersion reads "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)". A
// development build, 0.0.0, counts as recent: somebody made it on purpose.
func parseVersion(out string) (v [3]int, ok bool) {
	m := versionForm.FindStringSubmatch(out)
	if m == nil {
		return v, false
	}
	for i := range v {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

func before(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// build compiles the pinned release beside path and renames it there.
func build(ctx context.Context, dir, path string, progress io.Writer) (err error) {
	work, err := os.MkdirTemp(dir, "build-*")
	if err != nil {
		return fmt.Errorf("build Temporal: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	var out strings.Builder
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/temporalio/cli/cmd/temporal@"+Version)
	cmd.Env = append(os.Environ(), "GOBIN="+work, "GOFLAGS=-mod=mod")
	cmd.Dir = work
	cmd.Stdout, cmd.Stderr = &out, &out
	fmt.Fprintf(progress, "Building Temporal's development server %s from source, once (a few minutes) ...\n", Version)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return perennial.Errorf(perennial.CodeInvalid, "build Temporal: is Go installed? %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(progress, "  still building, %s\n", time.Since(began).Round(time.Second))
		case err := <-done:
			if err != nil {
				text := out.String()
				return fmt.Errorf("build Temporal: %w; the end of its output:\n%s", err, text[max(0, len(text)-2000):])
			}
			fmt.Fprintf(progress, "  built in %s\n", time.Since(began).Round(time.Second))
			return os.Rename(filepath.Join(work, "temporal"), path)
		}
	}
}

// locked runs do while no other process does.
func locked(path string, do func() error) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lock the cache: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the cache: %w", err)
	}
	return do()
}
