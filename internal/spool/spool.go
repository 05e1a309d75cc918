// Package spool keeps token sets that could not be stored yet in files on a persistent
// volume. The sets are sealed as in the database; the spool opens none.
package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/private"
	"github.com/perennial-oauth/perennial/store"
)

// Spool is a folder of sealed token sets, one file each. It is safe for concurrent use,
// also by several processes on one machine: a file is whole or not there.
type Spool struct {
	dir    string
	max    int
	proved atomic.Pointer[time.Time] // when it last proved that it can be written
}

// proofLasts is how long a proof of readiness counts. If the disk fills up within that
// time, the next refresh notices, and a set that it cannot spool goes to the workflow.
const proofLasts = time.Second

// MaxSets is the default bound of the sets in a spool. A set takes about 4 KiB.
const MaxSets = 10000

const (
	suffix  = ".sealed"
	corrupt = ".corrupt"   // cannot be read; its connection is not presented
	aside   = ".set-aside" // can never be stored; bars nothing
)

// unnamed begins the name of a set until it is on disk. Its process holds a lock on it
// meanwhile.
const unnamed = ".new-"

// maxFile bounds the files that are read, in bytes. A token set has some KiB, and less
// than 4 MiB, also from a program that read longer replies.
const maxFile = 4 << 20

// Open creates the folder if missing, refuses one that other users could write to, and
// proves that it can be written. most bounds the token sets in it; 0 means [MaxSets].
func Open(dir string, most int) (*Spool, error) {
	if most <= 0 {
		most = MaxSets
	}
	if err := private.MakeDir("the spool's folder", dir); err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "%w", err)
	}
	s := &Spool{dir: dir, max: most}
	return s, s.Ready()
}

// Ready proves, by writing and syncing a file, that the spool would take a token set. A
// proof counts for a second. Call it before a refresh token is spent. Its error says
// what to do.
func (s *Spool) Ready() error {
	if at := s.proved.Load(); at != nil && time.Since(*at) < proofLasts {
		return nil
	}
	if err := s.prove(); err != nil {
		return err
	}
	now := time.Now()
	s.proved.Store(&now)
	return nil
}

func (s *Spool) prove() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	if len(names) >= s.max {
		return perennial.Errorf(perennial.CodeUnavailable, "the spool %s is full (%d token sets): it empties by itself once the database takes them", s.dir, len(names))
	}
	if err := s.write(".probe-*", []byte("perennial"), os.Remove); err != nil {
		return perennial.Errorf(perennial.CodeUnavailable, "the spool %s cannot be written; free space there or mend its volume: %w", s.dir, err)
	}
	return nil
}

// Add writes a token set and returns once it is on disk.
func (s *Spool) Add(req store.SaveRequest) error {
	defer s.proved.Store(nil) // there is less room now, or none
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("spool the tokens of connection %s: %w", req.ID, err)
	}
	sum := sha256.Sum256(body)
	err = s.write(unnamed+"*", append([]byte(hex.EncodeToString(sum[:])+"\n"), body...), func(path string) error { return move(path, s.path(req)) })
	if err != nil {
		return fmt.Errorf("spool the tokens of connection %s: %w", req.ID, err)
	}
	return s.syncDir()
}

// Drop removes a token set that has been stored. A missing one is no error.
func (s *Spool) Drop(req store.SaveRequest) error {
	if err := os.Remove(s.path(req)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop the stored tokens of connection %s: %w", req.ID, err)
	}
	return nil
}

// SetAside gives a token set that can never be stored another name, under which it is
// not read again and bars nothing. A missing one is no error.
func (s *Spool) SetAside(req store.SaveRequest) error {
	path := s.path(req)
	if err := move(path, strings.TrimSuffix(path, suffix)+aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the tokens of connection %s aside: %w", req.ID, err)
	}
	return s.syncDir()
}

// List reads every token set. It renames a file that is not whole, and reports it in
// the error, together with the sets that it could read. It also finds a set whose
// process died after writing it and before naming it.
func (s *Spool) List() ([]store.SaveRequest, error) {
	adopted := s.adopt()
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var out []store.SaveRequest
	errs := []error{adopted}
	for _, name := range names {
		raw, err := s.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has stored it meanwhile
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read the spool: %w", err))
			continue
		}
		req, ok := decode(raw)
		if !ok {
			to := filepath.Join(s.dir, strings.TrimSuffix(name, suffix)+corrupt)
			errs = append(errs, perennial.Errorf(perennial.CodeSealed, "%s in the spool is corrupt: it is kept as %s", name, to),
				move(filepath.Join(s.dir, name), to))
			continue
		}
		out = append(out, req)
	}
	return out, errors.Join(errs...)
}

// Has reports whether the spool has a token set of the connection that is newer than
// generation. While it has, nobody may present the connection's refresh token. A
// corrupt file is an error that says what to do: its tokens may be the only valid ones.
func (s *Spool) Has(connectionID string, generation int64) (bool, error) {
	found, err := s.files(func(name string) bool { return strings.HasPrefix(name, fileName(connectionID)+".") })
	if err != nil {
		return false, err
	}
	holds := false
	for _, name := range found {
		path := filepath.Join(s.dir, name)
		n, ok := replaced(name)
		switch {
		case ok && n < generation: // the row has moved on: the set can replace nothing any more
		case ok && n-generation > perennial.MaxGenerationGap: // not a generation of this row
		case strings.HasSuffix(path, corrupt):
			return true, perennial.Errorf(perennial.CodeSealed, "the spool holds tokens of connection %s that cannot be read: bring %s back from a backup of the volume as %s, or remove it, and the stored token is presented again",
				connectionID, path, strings.TrimSuffix(path, corrupt)+suffix)
		case strings.HasSuffix(path, suffix):
			holds = true
		}
	}
	return holds, nil
}

// replaced returns the generation that a file's set replaces, from its name. If the
// name is not ours, ok is false: rather wait than lose a token.
func replaced(name string) (n int64, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) < 2 {
		return 0, false
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// Count returns how many token sets wait, and how many files were set aside: corrupt
// ones, and sets that can never be stored.
func (s *Spool) Count() (sets, notStored int, err error) {
	names, err := s.names()
	if err != nil {
		return 0, 0, err
	}
	others, err := s.files(func(name string) bool { return strings.HasSuffix(name, corrupt) || strings.HasSuffix(name, aside) })
	return len(names), len(others), err
}

func decode(raw []byte) (req store.SaveRequest, ok bool) {
	sum, body, found := bytes.Cut(raw, []byte("\n"))
	want := sha256.Sum256(body)
	if !found || string(sum) != hex.EncodeToString(want[:]) || json.Unmarshal(body, &req) != nil {
		return store.SaveRequest{}, false
	}
	return req, req.ID != "" && perennial.CheckGeneration(req.ID, req.Generation, req.NewGeneration) == nil
}

// read reads one file.
func (s *Spool) read(name string) ([]byte, error) {
	f, err := open(filepath.Join(s.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return content(f)
}

// open opens a file to read it. Unlike a named pipe's reader it never waits for a writer.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// content reads an open file. It reads nothing of one that cannot be a token set: of a
// pipe or device that took its name, and of a file that is too long.
func content(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// move renames a file. If a folder has the new name, that gets another: a token set
// comes before it.
func move(from, to string) error {
	err := os.Rename(from, to)
	if info, statErr := os.Lstat(to); err != nil && statErr == nil && info.IsDir() {
		if err = os.Rename(to, to+".folder"); err == nil {
			err = os.Rename(from, to)
		}
	}
	return err
}

// adopt names the whole sets that a process wrote and did not name before it died. An
// incomplete file stays: nobody was promised that it is on disk.
func (s *Spool) adopt() error {
	left, err := s.files(func(name string) bool { return strings.HasPrefix(name, unnamed) })
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range left {
		if err := s.adoptOne(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read the spool: %w", err))
		}
	}
	return errors.Join(errs...)
}

// adoptOne leaves a file alone while its process is at it, and on a file system without
// locks.
func (s *Spool) adoptOne(name string) error {
	path := filepath.Join(s.dir, name)
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil
	}
	raw, err := content(f)
	if err != nil {
		return err
	}
	req, ok := decode(raw)
	if !ok {
		return nil
	}
	return errors.Join(move(path, s.path(req)), s.syncDir())
}

func (s *Spool) names() ([]string, error) {
	return s.files(func(name string) bool { return strings.HasSuffix(name, suffix) })
}

// files returns the names of the regular files that match.
func (s *Spool) files(match func(name string) bool) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "the spool %s cannot be read: %w", s.dir, err)
	}
	var names []string
	for _, e := range entries {
		if match(e.Name()) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (s *Spool) path(req store.SaveRequest) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s.%d.%s%s", fileName(req.ID), req.Generation, fileName(req.AttemptID), suffix))
}

// fileName turns any id into a plain name without the characters of a pattern.
func fileName(id string) string { return hex.EncodeToString([]byte(id)) }

// write creates a file of mode 0600, calls then once its content is on disk, and holds a
// lock on it until then returns.
func (s *Spool) write(pattern string, content []byte, then func(path string) error) error {
	f, err := os.CreateTemp(s.dir, pattern)
	if err != nil {
		return err
	}
	defer f.Close()                                 // its content is synced
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX) // not every file system has locks
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return then(f.Name())
}

// syncDir makes a rename durable.
func (s *Spool) syncDir() error {
	d, err := os.OpenFile(s.dir, os.O_RDONLY|syscall.O_DIRECTORY, 0) // it never waits, also if a FIFO has this name by now
	if err != nil {
		return fmt.Errorf("sync the spool: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
