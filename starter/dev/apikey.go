package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
)

const (
	// keyName marks the keys that dev makes.
	keyName = "perennial dev"
	keyFile = "api-key"
	// serverTimeout bounds the wait for a server that has just started.
	serverTimeout = 60 * time.Second
)

var keyForm = regexp.MustCompile(`^pk_[0-9a-f]+_[0-9a-f]+`)

// openKey waits until the server answers, and returns a key of the demo's tenant. It
// reuses the last key if the server accepts it, so a copied command line still works
// and keys do not pile up; else it makes a new one.
func (s *stack) openKey(ctx context.Context) (perennial.Secret, error) {
	raw, err := os.ReadFile(s.path(keyFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return perennial.Secret{}, folderError(s.dir, fmt.Errorf("read the API key: %w", err))
	}
	key := perennial.NewSecret(keyForm.FindString(string(raw))) // empty if the file is damaged; the server refuses an empty key
	accepted, err := s.accepted(ctx, key)
	if err != nil {
		return key, err
	}
	if !accepted {
		return s.newKey(ctx)
	}
	return key, os.Chmod(s.path(keyFile), 0o600)
}

// newKey replaces the keys that dev made earlier with a new one.
func (s *stack) newKey(ctx context.Context) (perennial.Secret, error) {
	keys := api.NewKeyStore(s.deps.DB)
	access, err := perennial.CommandLineAccess().InTenant(demoTenant)
	if err != nil {
		return perennial.Secret{}, err
	}
	old, err := keys.List(ctx, access)
	if err != nil {
		return perennial.Secret{}, err
	}
	for _, k := range old {
		if k.Name == keyName && k.RevokedAt.IsZero() {
			if err := keys.Revoke(ctx, access, k.ID); err != nil {
				return perennial.Secret{}, err
			}
		}
	}
	k, key := api.NewKey(demoTenant, keyName, perennial.Scopes...) // every scope: the key opens nothing but the demo
	if _, err := keys.Add(ctx, access, k); err != nil {
		return perennial.Secret{}, err
	}
	return key, s.write(keyFile, []byte(key.Reveal()+"\n"))
}

// accepted waits until the server answers and reports whether it accepts key.
func (s *stack) accepted(ctx context.Context, key perennial.Secret) (accepted bool, err error) {
	limited, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	err = poll(limited, func() (bool, error) {
		if err := errors.Join(s.server.ended(), s.worker.ended()); err != nil {
			return false, err
		}
		status, err := status(limited, s.serverURL()+"/v1/connections?limit=1", key)
		accepted = status == http.StatusOK
		return err == nil && (accepted || status == http.StatusUnauthorized), nil // otherwise it does not listen yet
	})
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = perennial.Errorf(perennial.CodeUnavailable, "the server does not answer at %s after %s%s", s.serverURL(), serverTimeout, s.server.log.Tail())
	}
	return accepted, err
}

// status returns the HTTP status of a GET with key.
func status(ctx context.Context, url string, key perennial.Secret) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+key.Reveal())
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer reply.Body.Close()
	_, err = io.Copy(io.Discard, reply.Body)
	return reply.StatusCode, err
}

// nextSteps prints what to do once everything is ready.
func (s *stack) nextSteps(out io.Writer) {
	ui := s.uiLink()
	if s.ui == "" {
		ui = "the UI of your Temporal server"
	}
	curl := "curl -sS"
	if s.proxied() {
		curl += " --noproxy 127.0.0.1"
	}
	fmt.Fprintf(out, "\nAn API key, saved in %s:\n  %s\n", s.path(keyFile), s.key.Reveal())
	fmt.Fprintf(out, "A fresh access token, at any time:\n  %s '%s/v1/connections/%s/token' -H 'Authorization: Bearer %s'\n", curl, s.serverURL(), s.ids[0], s.key.Reveal())
	fmt.Fprintf(out, "Next: open %s\nEach connection is a workflow there. Soon one is revoked; the link to reconnect it is printed here.\n\n", ui)
}

// proxied reports whether curl would send requests to this machine to a proxy.
func (s *stack) proxied() bool {
	return slices.ContainsFunc(s.environ, func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		return value != "" && (name == "http_proxy" || strings.EqualFold(name, "all_proxy"))
	})
}
