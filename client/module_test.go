package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxModules bounds the modules of a program that uses the HTTP client alone, with its
// own.
const maxModules = 15

// TestProgramStaysSmall: a program that uses the HTTP client alone builds, and takes few
// modules.
func TestProgramStaysSmall(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	require.NoError(t, err)
	sums, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/product\n\ngo 1.26.0\n\nrequire github.com/perennial-oauth/perennial/client v0.1.0\n\nreplace github.com/perennial-oauth/perennial/client => " + here + "\n",
		"go.sum": string(sums),
		"main.go": `package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/client/words"
)

func main() {
	backend, err := remote.New(remote.Config{URL: os.Getenv("PERENNIAL_URL"), Key: words.NewSecret(os.Getenv("PERENNIAL_KEY"))})
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Config{Backend: backend})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Token(context.Background(), "con_1")
	if needed := (*client.ErrReconnectRequired)(nil); errors.As(err, &needed) && needed.Reason == words.ReasonInvalidGrant {
		fmt.Println(needed.ReconnectURL)
	}
	_ = &http.Client{Transport: c.Transport("con_1")}
}
`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %s: %s", strings.Join(args, " "), out)
		return string(out)
	}
	run("build", "-o", os.DevNull, ".")
	modules := strings.Split(strings.TrimSpace(run("list", "-m", "all")), "\n")
	require.LessOrEqual(t, len(modules), maxModules, "%q", modules)
	require.NotContains(t, strings.Join(modules, "\n")+"\n", "perennial-oauth/perennial v", "the engine's module")
	for _, pkg := range strings.Fields(run("list", "-deps", ".")) {
		ours, ok := strings.CutPrefix(pkg, "github.com/perennial-oauth/perennial")
		require.True(t, !ok || strings.HasPrefix(ours, "/client"), "%s is compiled too", pkg)
	}
}
