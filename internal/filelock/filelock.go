// Package filelock locks a file between processes and says which process holds it.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// Lock is held until Release or until the process ends.
type Lock struct{ file *os.File }

// HeldError says that another process holds the lock.
type HeldError struct {
	Path string
	By   string // what the holder wrote about itself; "another process" if nothing
}

// Error implements error.
func (e *HeldError) Error() string { return e.By + " holds the lock " + e.Path }

// maxNote bounds how many bytes of a holder's note are read.
const maxNote = 200

// Try takes the lock at path, or returns a [HeldError]. what tells other processes what
// the holder is doing: "builds temporal v1.5.1".
func Try(path, what string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = &HeldError{Path: path, By: holder(f)}
		}
		return nil, errors.Join(err, f.Close())
	}
	if err := note(f, what); err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock %s: %w", path, err), f.Close())
	}
	return &Lock{f}, nil
}

// retryEvery is how often Wait tries again.
const retryEvery = 200 * time.Millisecond

// Wait takes the lock at path as soon as it is free. If another process holds it, Wait
// first calls waiting once with the holder. It returns early if ctx ends.
func Wait(ctx context.Context, path, what string, waiting func(*HeldError)) (*Lock, error) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		l, err := Try(path, what)
		held, taken := errors.AsType[*HeldError](err)
		if !taken {
			return l, err
		}
		if first {
			waiting(held)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait while %w: %w", held, ctx.Err())
		case <-tick.C:
		}
	}
}

// Release releases the lock.
func (l *Lock) Release() error { return l.file.Close() }

// flock locks f without waiting. A signal may interrupt the call.
func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func note(f *os.File, what string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "process %d (%s)\n", os.Getpid(), what), 0)
	return err
}

func holder(f *os.File) string {
	raw, err := io.ReadAll(io.LimitReader(f, maxNote))
	line, _, _ := strings.Cut(string(raw), "\n")
	if err != nil || line == "" {
		return "another process"
	}
	return line
}
