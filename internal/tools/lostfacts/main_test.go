package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFacts(t *testing.T) {
	got := facts(prose("a.go", "x := 5 // waits 30 s, 1,000 at most (RFC 6749 section 5.2), see https://example.org/a. and next_refresh_at of Store.Get\n"))
	want := []string{"30", "1,000", "6749", "5.2", "https://example.org/a", "next_refresh_at", "Store.Get"}
	for _, f := range want {
		if !slices.Contains(got, f) {
			t.Errorf("%q is not found in %q", f, got)
		}
	}
	if slices.Contains(got, "5") {
		t.Errorf("code is no comment: %q", got)
	}
}

// TestRun: a fact that a commit loses is listed, one that moved is not.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("a.go", "// It waits 47 s for OldName and 12 s more.\n")
	git("add", "-A")
	git("commit", "-qm", "one")
	write("a.go", "// It waits for NewName.\n")
	write("b.md", "12 s\n")
	write("renamed", "OldName NewName\n")
	git("add", "-A")
	git("commit", "-qm", "two")
	t.Chdir(dir)
	out, err := os.CreateTemp(dir, "out")
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = out
	err = run("HEAD~1", "HEAD", "renamed")
	os.Stdout = stdout
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(raw)); got != "47\ta.go" {
		t.Errorf("%q", got)
	}
}
