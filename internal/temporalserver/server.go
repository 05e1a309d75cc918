package temporalserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial/internal/child"
	"github.com/perennial-oauth/perennial/internal/gobuild"
	"github.com/perennial-oauth/perennial/internal/pgserver"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Version is the pinned release.
const Version = "v1.32.0"

const module = "go.temporal.io/server"

// Server is a running server: one process with all four services. It ends with the
// process that started it.
type Server struct {
	Address string // of the frontend, host:port
	Metrics string // URL of the server's metrics

	binary, config string
	log            *os.File
	cmd            *exec.Cmd
	done           chan struct{}
}

// Prepare builds the programs. It is quick if they are already built.
func Prepare(ctx context.Context, progress io.Writer) (server, sqlTool string, err error) {
	server, err = gobuild.Program{Name: "temporal-server", Package: module + "/cmd/server", Version: Version}.Path(ctx, progress)
	if err != nil {
		return "", "", err
	}
	sqlTool, err = gobuild.Program{Name: "temporal-sql-tool", Package: module + "/cmd/tools/sql", Version: Version}.Path(ctx, progress)
	return server, sqlTool, err
}

// Start creates the databases temporal and temporal_visibility on pg with their
// schemas, and runs a server with that many history shards. dir holds the server's
// files.
func Start(ctx context.Context, pg *pgserver.Server, dir string, shards int, progress io.Writer) (*Server, error) {
	binary, sqlTool, err := Prepare(ctx, progress)
	if err != nil {
		return nil, err
	}
	if err := schemas(ctx, sqlTool, pg); err != nil {
		return nil, err
	}
	ports, err := freePorts(9)
	if err != nil {
		return nil, err
	}
	s := &Server{Address: fmt.Sprintf("127.0.0.1:%d", ports[0]), Metrics: fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[8]),
		binary: binary, config: filepath.Join(dir, "temporal.yaml")}
	if err := errors.Join(os.WriteFile(s.config, []byte(config(pg, dir, shards, ports)), 0o600),
		os.WriteFile(filepath.Join(dir, "dynamic.yaml"), []byte(dynamic), 0o600)); err != nil {
		return nil, err
	}
	if s.log, err = os.OpenFile(filepath.Join(dir, "temporal.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	if err := s.Run(ctx); err != nil {
		return nil, err
	}
	return s, s.namespace(ctx)
}

// Run starts the server again after [Server.Kill], and waits until it answers.
func (s *Server) Run(ctx context.Context) error {
	s.cmd = exec.Command(s.binary, "--config-file", s.config, "--allow-no-auth", "start")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if s.done, err = child.Start(s.cmd); err != nil {
		return fmt.Errorf("start Temporal: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("the Temporal server ended at its start; its output is in %s", s.log.Name())
		case <-ctx.Done():
			return fmt.Errorf("the Temporal server does not answer; its output is in %s", s.log.Name())
		case <-tick.C:
		}
	}
}

// answers reports whether the server could look up a workflow of the default namespace.
// A missing namespace counts as an answer.
func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := client.NewNamespaceClient(client.Options{HostPort: s.Address, Logger: quiet{}})
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Describe(ctx, "default")
	return err == nil || strings.Contains(err.Error(), "not found")
}

// namespace creates the default namespace and waits until every service knows it.
func (s *Server) namespace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	namespaces, err := client.NewNamespaceClient(client.Options{HostPort: s.Address, Logger: quiet{}})
	if err != nil {
		return err
	}
	defer namespaces.Close()
	err = namespaces.Register(ctx, &workflowservice.RegisterNamespaceRequest{Namespace: "default", WorkflowExecutionRetentionPeriod: durationpb.New(72 * time.Hour)})
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		return fmt.Errorf("register the default namespace: %w", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := client.DialContext(ctx, client.Options{HostPort: s.Address, Logger: quiet{}})
		if err == nil {
			_, err = c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1})
			c.Close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the default namespace is not usable: %w", err)
		case <-tick.C:
		}
	}
}

// Kill ends the server at once.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill Temporal: %w", err)
	}
	<-s.done
	return nil
}

// Pid returns the id of the server's process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// schemas creates Temporal's two databases.
func schemas(ctx context.Context, tool string, pg *pgserver.Server) error {
	out, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+Version).Output()
	if err != nil {
		return fmt.Errorf("find the schema of Temporal %s: %w", Version, err)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		return fmt.Errorf("find the schema of Temporal %s: %w", Version, err)
	}
	u, err := url.Parse(pg.URL)
	if err != nil {
		return err
	}
	for database, folder := range map[string]string{"temporal": "temporal", "temporal_visibility": "visibility"} {
		for _, args := range [][]string{
			{"create-database"},
			{"setup-schema", "-v", "0.0"},
			{"update-schema", "-d", filepath.Join(downloaded.Dir, "schema", "postgresql", "v12", folder, "versioned")},
		} {
			args = append([]string{"--plugin", "postgres12", "--ep", "127.0.0.1", "-p", strconv.Itoa(pg.Port), "-u", u.User.Username(), "--db", database}, args...)
			if out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput(); err != nil {
				return fmt.Errorf("make the database %s: %w: %s", database, err, out)
			}
		}
	}
	return nil
}

// freePorts finds n ports below 32768 on which nobody listens. Temporal keeps its
// members' ports in a column with no room for larger numbers.
func freePorts(n int) ([]int, error) {
	var ports []int
	for port := 10000 + rand.IntN(20000); len(ports) < n && port < 32768; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, errors.New("there are not enough free ports for Temporal")
	}
	return ports, nil
}

// quiet drops the client's log: this package asks again until the server answers.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
