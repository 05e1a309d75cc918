package dev

import (
	"context"
	"fmt"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// startError explains a failed start. If the user ended it, the message says only that:
// other errors are consequences.
func startError(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("stopped before everything was ready (%w): run it again to carry on", context.Cause(ctx))
}

// damaged reports that a file of the state folder is unusable.
func damaged(dir string, err error) error {
	return perennial.Errorf(perennial.CodeConflict, "the state in %s is damaged: %w\nDelete the folder to begin anew, or name another one with --dir", dir, err)
}

// folderCauses maps the error texts of the operating system and SQLite for an unusable
// state folder to advice.
var folderCauses = []struct {
	says   string
	code   perennial.Code
	advice string // %s is the folder
}{
	{"no space left on device", perennial.CodeInternal, "the disk of %s is full: free some space, or name another folder with --dir"},
	{"database or disk is full", perennial.CodeInternal, "the disk of %s is full: free some space, or name another folder with --dir"},
	{"disk quota exceeded", perennial.CodeInternal, "the disk quota for %s is used up: free some space, or name another folder with --dir"},
	{"permission denied", perennial.CodeInvalid, "perennial dev cannot write its state to %s: name a folder that you can write with --dir"},
	{"operation not permitted", perennial.CodeInvalid, "perennial dev cannot write its state to %s: name a folder that you can write with --dir"},
	{"read-only file system", perennial.CodeInvalid, "perennial dev cannot write its state to %s: name a folder that you can write with --dir"},
	{"readonly database", perennial.CodeInvalid, "perennial dev cannot write its state to %s: name a folder that you can write with --dir"},
	{"unable to open database file", perennial.CodeInvalid, "perennial dev cannot write its state to %s: name a folder that you can write with --dir"},
	{"not a directory", perennial.CodeInvalid, "%s cannot be a folder: name another one with --dir"},
	{"file exists", perennial.CodeInvalid, "%s cannot be a folder: name another one with --dir"},
	{"file name too long", perennial.CodeInvalid, "%s is too long a name: name another folder with --dir"},
}

// folderError adds advice to an error of the state folder. It returns an error that has
// advice already unchanged.
func folderError(dir string, err error) error {
	code := perennial.CodeOf(err)
	if code == perennial.CodeConflict {
		return err
	}
	text := err.Error()
	for _, c := range folderCauses {
		if strings.Contains(text, c.says) {
			return perennial.Errorf(c.code, c.advice+": %w", dir, err)
		}
	}
	for _, says := range []string{"file is not a database", "database disk image is malformed"} { // SQLite's texts
		if strings.Contains(text, says) {
			return damaged(dir, err)
		}
	}
	if code == perennial.CodeInternal || code == perennial.CodeSealed {
		return damaged(dir, err)
	}
	return err
}
