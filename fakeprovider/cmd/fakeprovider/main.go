// Command fakeprovider serves a fake OAuth 2.0 provider. Its first line of output is
// its URL.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fakeprovider:", err)
		os.Exit(1)
	}
}

// play reads how to play a provider.
func play(name, sources string) (*fakeprovider.Play, error) {
	e, known := provider.Lookup(name)
	if !known {
		var err error
		if e, err = provider.ReadFile(name); err != nil {
			return nil, fmt.Errorf("--play: %w", err)
		}
	}
	var f fixtures.File
	if sources != "" {
		var err error
		if f, err = fixtures.Read(filepath.Split(filepath.Clean(sources))); err != nil {
			return nil, fmt.Errorf("--fixtures: %w", err)
		}
	}
	return fakeprovider.NewPlay(e, f)
}

func run(args []string) error {
	flags := flag.NewFlagSet("fakeprovider", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	clients := flags.String("clients", "", `file of clients, JSON: {"client-id": {"secrets": ["..."], "redirect_uris": ["..."], "knobs": {}}}`)
	stateFile := flags.String("state", "", "file that keeps the grants over a restart")
	plays := flags.String("play", "", "provider to play: a name of the catalogue, or the file of a description")
	sources := flags.String("fixtures", "", "folder with that provider's fixtures.yaml, whose replies are played: provider/testdata/NAME")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config := fakeprovider.Config{StateFile: *stateFile}
	if *plays != "" {
		var err error
		if config.Play, err = play(*plays, *sources); err != nil {
			return err
		}
	}
	raw, err := os.ReadFile(*clients)
	if err != nil {
		return fmt.Errorf("read --clients: %w", err)
	}
	if err := json.Unmarshal(raw, &config.Clients); err != nil {
		return fmt.Errorf("read --clients: %w", err)
	}
	server, err := fakeprovider.New(config)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	h := &http.Server{Handler: server, ReadHeaderTimeout: 10 * time.Second}
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
