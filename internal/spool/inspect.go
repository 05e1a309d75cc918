package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/internal/private"
)

// Contents is the content of a spool's folder.
type Contents struct {
	Waiting  int       // token sets that wait for the database
	Oldest   time.Time // when the oldest of them was written
	SetAside int       // token sets that can never be stored
	Corrupt  int       // files that cannot be read; their connections are not presented
	Free     uint64    // bytes that its disk has left for this user
}

// Inspect looks into a spool's folder without creating or changing anything. For a
// missing folder the error is of [fs.ErrNotExist]. A folder that other users could write
// to is an error that says what to do; its contents are returned too.
func Inspect(dir string) (Contents, error) {
	var c Contents
	entries, err := os.ReadDir(dir)
	if err != nil {
		return c, fmt.Errorf("look into the spool: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		switch name := e.Name(); {
		case strings.HasSuffix(name, aside):
			c.SetAside++
		case strings.HasSuffix(name, corrupt):
			c.Corrupt++
		case strings.HasSuffix(name, suffix):
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // a worker has stored it meanwhile
			}
			if err != nil {
				return c, fmt.Errorf("look into the spool: %w", err)
			}
			c.Waiting++
			if c.Oldest.IsZero() || info.ModTime().Before(c.Oldest) {
				c.Oldest = info.ModTime()
			}
		}
	}
	if c.Free, err = freeSpace(dir); err != nil {
		return c, fmt.Errorf("ask for the free space of the spool's disk: %w", err)
	}
	return c, private.CheckDir("the spool's folder", dir)
}
