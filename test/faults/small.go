package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// small is a file system of its own, in memory, that can be filled.
type small struct{ path string }

func newSmall(dir, name, size string) (*small, error) {
	s := &small{filepath.Join(dir, name)}
	if err := os.Mkdir(s.path, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", s.path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mount a small file system (the suite fills disks up; run it as root): %w: %s", err, out)
	}
	return s, nil
}

func (s *small) ballast() string { return filepath.Join(s.path, "ballast") }

// fill uses all the free space.
func (s *small) fill() error {
	f, err := os.Create(s.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} { // to the last page
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}

func (s *small) free() error { return os.Remove(s.ballast()) }

func (s *small) remove() { _ = exec.Command("umount", "-l", s.path).Run() }
