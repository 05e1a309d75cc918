// Package gobuild builds pinned programs from source into a cache. It builds each only
// once.
package gobuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/filelock"
)

// Program is a Go program at a pinned version.
type Program struct {
	Name    string // the file in the cache is Name-Version
	Package string // import path of its main package
	Version string // "v1.5.1"

	// Mod and Sum are the go.mod and go.sum of a module that has the program as a tool at
	// Version. They are for a program whose own go.mod replaces modules, which go install
	// refuses. Nil: go install.
	Mod, Sum []byte
}

// Path returns the program's path in the cache, and builds the program if it is not
// there. It writes a line to progress for each step that takes time: a build, or the
// wait for another process that builds. Several processes may call it at once.
func (p Program) Path(ctx context.Context, progress io.Writer) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, p.Name+"-"+p.Version)
	if runnable(path) {
		return path, nil
	}
	lock, err := filelock.Wait(ctx, filepath.Join(dir, "build.lock"), "builds "+p.Name+" "+p.Version, func(held *filelock.HeldError) {
		fmt.Fprintf(progress, "Waiting to build %s %s: %v ...\n", p.Name, p.Version, held)
	})
	if err != nil {
		return "", cacheError(dir, err)
	}
	defer func() { _ = lock.Release() }() // closing the file releases the lock in any case
	if runnable(path) {
		return path, nil // another process has built it
	}
	return path, p.build(ctx, dir, path, progress)
}

func cacheDir() (string, error) {
	dir := os.Getenv("PERENNIAL_CACHE_DIR")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", perennial.Errorf(perennial.CodeInvalid, "there is no folder to keep built programs in: set HOME or PERENNIAL_CACHE_DIR: %w", err)
		}
		dir = filepath.Join(base, "perennial")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", cacheError(dir, err)
	}
	return dir, nil
}

// cacheError says what to do if the cache cannot be written.
func cacheError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return perennial.Errorf(perennial.CodeInternal, "the disk of the cache folder %s is full: free some space, or set PERENNIAL_CACHE_DIR to another folder: %w", dir, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return perennial.Errorf(perennial.CodeInvalid, "the cache folder %s cannot be used: set PERENNIAL_CACHE_DIR to a folder that you can write: %w", dir, err)
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o100 != 0
}
