package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/spf13/cobra"
)

func (s *shell) healthcheck() *cobra.Command {
	var url string
	var server bool
	cmd := &cobra.Command{Use: "healthcheck", Short: "Check whether a worker or a server on this machine is ready", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			who := "worker"
			if server {
				who = "server"
			}
			if url == "" {
				var err error
				if url, err = s.healthURL(server, cmd.Flags().Changed("config")); err != nil {
					return err
				}
			}
			return s.askHealth(cmd.Context(), who, url)
		}}
	cmd.Flags().StringVar(&url, "url", "", "the URL to check; without it /readyz at the worker's configured address (listen, PERENNIAL_LISTEN)")
	cmd.Flags().BoolVar(&server, "server", false, "check the server (server.health, PERENNIAL_SERVER_HEALTH)")
	return cmd
}

// healthURL returns the configured health address of the worker or the server. Without
// a configuration file, and if none was named, the variables and the defaults count: a
// container may have nothing else.
func (s *shell) healthURL(server, named bool) (string, error) {
	path := s.config
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !named {
		path = ""
	}
	address, ofServer, err := config.HealthAddresses(path, s.environ)
	if err != nil {
		return "", err
	}
	if server {
		address = ofServer
	}
	listens, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", perennial.Errorf(perennial.CodeInvalid, "%q is not HOST:PORT: %w", address, err)
	}
	if port == "0" {
		return "", perennial.Errorf(perennial.CodeInvalid, "the configured address is %s, so the system chooses the port: give its URL with --url", address)
	}
	switch ip := net.ParseIP(listens); {
	case listens == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		listens = "127.0.0.1" // it listens on every address of this machine
	case ip != nil && ip.IsUnspecified():
		listens = "::1"
	}
	return "http://" + net.JoinHostPort(listens, port) + "/readyz", nil
}

func (s *shell) askHealth(ctx context.Context, who, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return perennial.Errorf(perennial.CodeInvalid, "--url is not usable: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return perennial.Errorf(perennial.CodeUnavailable, "no %s answers: %w", who, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return perennial.Errorf(perennial.CodeUnavailable, "read the %s's answer: %w", who, err)
	}
	if resp.StatusCode != http.StatusOK {
		return perennial.Errorf(perennial.CodeUnavailable, "not ready: %s", strings.TrimSpace(string(body)))
	}
	fmt.Fprintln(s.out, strings.TrimSpace(string(body)))
	return nil
}
