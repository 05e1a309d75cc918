// Package pgserver runs private PostgreSQL servers from the binaries on this
// machine.
package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/perennial-oauth/perennial/internal/child"
)

// Server is a private PostgreSQL server. It ends with this process.
type Server struct {
	URL string

	Dir  string
	Port int

	bin        string
	settings   []string
	credential *syscall.Credential
	cmd        *exec.Cmd
	done       chan struct{}
}

// prefix begins the names of the temporary folders.
const prefix = "perennial-pg-"

// sweep removes the folders of earlier test binaries: a server that dies with its
// process cannot remove its own. It keeps a recent folder without a living server,
// because that server may still be starting.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return // only a bad pattern is an error
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < 10*time.Minute || serving(dir) {
			continue
		}
		_ = os.RemoveAll(dir) // another user's folder stays
	}
}

// serving reports whether the server of the folder dir runs.
func serving(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	return err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Start creates a cluster in dir, or in a temporary folder if dir is empty, and runs
// it. settings have the form "name=value".
func Start(dir string, settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		sweep()
		if dir, err = os.MkdirTemp("", prefix); err != nil {
			return nil, err
		}
	}
	credential, err := credential(dir)
	if err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "perennial", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, Port: l.Addr().(*net.TCPAddr).Port, bin: bin, credential: credential, settings: settings}
	if err := l.Close(); err != nil {
		return nil, err
	}
	s.URL = fmt.Sprintf("postgres://perennial@127.0.0.1:%d/postgres?sslmode=disable", s.Port)
	return s, s.Run()
}

// Run starts the server again after [Server.Stop], and waits until it answers.
func (s *Server) Run() error {
	// fsync is off: the tests check our own use of transactions, and killing the server
	// process loses nothing that the kernel already has.
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.Dir, "data"), "-p", strconv.Itoa(s.Port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+s.Dir, "-c", "fsync=off", "-c", "max_connections=300")
	for _, setting := range s.settings {
		s.cmd.Args = append(s.cmd.Args, "-c", setting)
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Pdeathsig: syscall.SIGINT}
	s.cmd.Dir = s.Dir
	var err error
	if s.done, err = child.Start(s.cmd); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return answer(ctx, "postgres", s.URL, s.done)
}

// Stop ends the server at once, as a crash would: connections break, committed data
// stays.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	<-s.done
	return nil
}

// Own gives a path to the user that the server runs as.
func (s *Server) Own(path string) error {
	if s.credential == nil {
		return nil
	}
	return os.Chown(path, int(s.credential.Uid), int(s.credential.Gid))
}

// Tool returns the path of one of PostgreSQL's programs: beside the server, where
// Debian keeps it, or on PATH.
func (s *Server) Tool(name string) string {
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // only a bad pattern is an error
	for _, path := range append([]string{filepath.Join(s.bin, name)}, candidates...) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}

// Pid returns the id of the server's process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// answer waits until the program at url answers or ends.
func answer(ctx context.Context, program, url string, done <-chan struct{}) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if db.PingContext(ctx) == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("%s ended at its start", program)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", program, ctx.Err())
		case <-tick.C:
		}
	}
}

// binaries finds the folder of initdb and postgres.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("neither on PATH nor in /usr/lib/postgresql is there an initdb")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// credential returns the user postgres if this process runs as root, which the server
// refuses, and gives dir to that user.
func credential(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres: %w", err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2, os.Chown(dir, uid, gid), os.Chmod(dir, 0o755)); err != nil {
		return nil, fmt.Errorf("prepare the folder of PostgreSQL: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// Freeze stops the server's processes where they are, as a hanging disk would. The
// server then accepts connections and answers nothing until [Server.Thaw].
func (s *Server) Freeze() error { return s.signal(syscall.SIGSTOP) }

// Thaw resumes the server after [Server.Freeze].
func (s *Server) Thaw() error { return s.signal(syscall.SIGCONT) }

// signal reaches the server and its children: each backend leads its own session.
func (s *Server) signal(sig syscall.Signal) error {
	errs := []error{syscall.Kill(s.Pid(), sig)} // the server first: a frozen one starts no further child
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.Pid(), s.Pid()))
	if err != nil {
		return fmt.Errorf("find PostgreSQL's processes: %w", err)
	}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err == nil {
			err = syscall.Kill(pid, sig)
		}
		if !errors.Is(err, syscall.ESRCH) { // a backend may end between the listing and here
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
