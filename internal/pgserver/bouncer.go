package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial/internal/child"
)

// StartBouncer runs a PgBouncer in transaction mode in front of the server at the given
// URL, and returns the URL of that server through PgBouncer. PgBouncer accepts every
// database name, and ends with this process.
func StartBouncer(server string) (string, error) {
	binary, err := bouncerBinary()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("the server's URL is not one") // the URL may hold a password
	}
	dir, err := os.MkdirTemp("", prefix+"bouncer-")
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return "", err
	}
	password, _ := u.User.Password()
	ini := filepath.Join(dir, "pgbouncer.ini")
	// sweep looks for the process there.
	pidFile := filepath.Join(dir, "data", "postmaster.pid")
	err = errors.Join(
		os.Mkdir(filepath.Dir(pidFile), 0o755),
		os.WriteFile(filepath.Join(dir, "users"), fmt.Appendf(nil, "%q %q\n", u.User.Username(), password), 0o644),
		os.WriteFile(ini, fmt.Appendf(nil, `[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
logfile = %s
pidfile = %s
`, u.Hostname(), u.Port(), port, filepath.Join(dir, "users"), filepath.Join(dir, "log"), pidFile), 0o644))
	if err != nil {
		return "", err
	}
	credential, err := credential(dir) // PgBouncer refuses to run as root too
	if err != nil {
		return "", err
	}
	if credential != nil {
		if err := os.Chown(filepath.Dir(pidFile), int(credential.Uid), int(credential.Gid)); err != nil {
			return "", err
		}
	}
	cmd := exec.Command(binary, "--quiet", ini)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGINT}
	cmd.Dir = dir
	done, err := child.Start(cmd)
	if err != nil {
		return "", fmt.Errorf("start pgbouncer: %w", err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	query := u.Query()
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := answer(ctx, "pgbouncer", u.String(), done); err != nil {
		return "", err
	}
	return u.String(), nil
}

func bouncerBinary() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // sbin is often not on PATH
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no pgbouncer on PATH or in /usr/sbin")
}
