package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// baseFile names the commit of the previous release, in the repository's root.
const baseFile = ".release-base"

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// releaseBase returns the id of the commit that the file names. That commit must be in
// the history of what the repository at root has checked out.
func releaseBase(ctx context.Context, root string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(root, baseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no %s: run the suite in the repository's root", baseFile)
	}
	if err != nil {
		return "", fmt.Errorf("read the release before: %w", err)
	}
	commit := strings.TrimSpace(string(raw))
	if !commitID.MatchString(commit) {
		return "", fmt.Errorf("%s must hold the whole id of one commit, 40 hexadecimal digits", baseFile)
	}
	shallow, err := git(ctx, root, "rev-parse", "--is-shallow-repository")
	if err != nil {
		return "", fmt.Errorf("the release before is built from the repository's history, and git cannot read that here: clone the repository (an archive of its files is not enough): %w", err)
	}
	if _, err := git(ctx, root, "merge-base", "--is-ancestor", commit, "HEAD"); err != nil {
		if shallow == "true" {
			return "", fmt.Errorf("this clone is shallow and lacks commit %s of the release before: run `git fetch --unshallow`", commit)
		}
		return "", fmt.Errorf("commit %s, which %s names, is not in the history of HEAD: name the last commit before this version: %w", commit, baseFile, err)
	}
	return commit, nil
}

// git runs a git command in a folder and returns its output.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildOld builds the worker of the previous release, which runs beside this one during
// a deploy.
func (s *stack) buildOld(ctx context.Context) error {
	commit, err := releaseBase(ctx, ".")
	if err != nil {
		return err
	}
	tree := s.file("release-before")
	if _, err := git(ctx, ".", "worktree", "add", "--detach", tree, commit); err != nil {
		return fmt.Errorf("check out the release before: %w", err)
	}
	s.undo = append(s.undo, func() { _, _ = git(context.Background(), ".", "worktree", "remove", "--force", tree) })
	s.old = s.file("worker-before")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.old, "./worker")
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the worker of the release before: %w: %s", err, out)
	}
	return nil
}

// besideOld has the faults that are also made while a worker of the previous release
// runs. Add another fault only after you have read what that release makes of it. Of
// the commit that .release-base names it is known that
//
//   - one recorded failure of an app at pace pooled stops every bulk claim of that app;
//   - a circuit stays open if its last canary is the only connection that is left;
//   - an if_generation above the row's raises the row's generation;
//   - an unsaved message that does not decode, or is about another connection, stops a
//     workflow or overwrites tokens;
//   - a token set in the spool is deleted if its row is missing.
//
// Therefore the connections that fail all the time are well meanwhile.
//
// So no fault may be here that fails an app's requests, goes back in time or forges
// messages.
var besideOld = []string{"refused_once"}

// oldAndNew runs a worker of the previous release beside the new ones.
func oldAndNew(r *round) error {
	w, err := r.newWorker(fmt.Sprintf("old-%d", r.done["old_and_new"]))
	if err != nil {
		return err
	}
	w.binary, w.config = r.old, configBefore
	if err := r.heal(); err != nil {
		return err
	}
	r.stirSick()
	if err := w.start(); err != nil {
		return err
	}
	defer w.end()
	works := r.until(20*time.Second, "the worker of the release before starts", func() bool {
		raw, err := os.ReadFile(w.log())
		return err == nil && bytes.Contains(raw, []byte(`"worker started"`))
	})
	if !works {
		return nil // that is recorded
	}
	r.stir(pick(r.r, r.steady(r.five()), 40))
	for _, f := range r.faults {
		if !slices.Contains(besideOld, f.name) {
			continue
		}
		if err := f.run(r); err != nil {
			return fmt.Errorf("%s beside the release before: %w", f.name, err)
		}
		r.done[f.name+"_beside_old"]++
	}
	r.wait(6 * time.Second)
	if err := w.terminate(); err != nil {
		return err
	}
	r.noteOldWaits()
	defer r.stirSick()
	return r.sicken()
}

// noteOldWaits notes the waits of which nobody can say whose they are: the release
// before wrote no owner beside them.
func (r *round) noteOldWaits() {
	for _, c := range r.all {
		row := r.get(c)
		c.with(func() {
			c.oldWait = time.Time{}
			if row.NextAttemptAt.After(time.Now().Add(buffer)) && row.BackoffUntil.IsZero() {
				c.oldWait = row.NextAttemptAt
			}
		})
	}
}

// waitsForOld reports whether the connection still waits as the release before wrote.
func (r *round) waitsForOld(c *conn) bool {
	c.mu.Lock()
	until := c.oldWait
	c.mu.Unlock()
	return until.After(time.Now()) && r.get(c).NextAttemptAt.Equal(until)
}
