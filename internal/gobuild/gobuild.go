// Package gobuild builds pinned programs from source, once, into a cache.
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
)

// Program is a Go program at a pinned version.
type Program struct {
	Name    string // of the file in the cache: Name-Version
	Package string // import path of its main package
	Version string // "v1.5.1"
}

// Path returns the program from the cache, built from source where it is not
// there, with progress told. Several processes may ask at once.
func (p Program) Path(ctx context.Context, progress io.Writer) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, p.Name+"-"+p.Version)
	if runnable(path) {
		return path, nil
	}
	return path, locked(filepath.Join(dir, "build.lock"), func() error {
		if runnable(path) {
			return nil // built by another process meanwhile
		}
		return p.build(ctx, dir, path, progress)
	})
}

func cacheDir() (string, error) {
	dir := os.Getenv("PERENNIAL_CACHE_DIR")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", perennial.Errorf(perennial.CodeInvalid, "no place to keep what is built: set PERENNIAL_CACHE_DIR: %w", err)
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

// build compiles the program beside path and renames it there.
func (p Program) build(ctx context.Context, dir, path string, progress io.Writer) (err error) {
	work, err := os.MkdirTemp(dir, "build-*")
	if err != nil {
		return fmt.Errorf("build %s: %w", p.Name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	var out strings.Builder
	cmd := exec.CommandContext(ctx, "go", "install", p.Package+"@"+p.Version)
	cmd.Env = append(os.Environ(), "GOBIN="+work, "GOFLAGS=-mod=mod")
	cmd.Dir = work
	cmd.Stdout, cmd.Stderr = &out, &out
	fmt.Fprintf(progress, "Building %s %s from source, once (a few minutes) ...\n", p.Name, p.Version)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return perennial.Errorf(perennial.CodeInvalid, "build %s: is Go installed? %w", p.Name, err)
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
				return fmt.Errorf("build %s: %w; the end of its output:\n%s", p.Name, err, text[max(0, len(text)-2000):])
			}
			fmt.Fprintf(progress, "  built in %s\n", time.Since(began).Round(time.Second))
			return os.Rename(filepath.Join(work, filepath.Base(p.Package)), path)
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
