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
	want := []string{"30 s", "1,000", "RFC 6749", "5.2", "https://example.org/a", "next_refresh_at", "Store.Get"}
	for _, f := range want {
		if !slices.Contains(got, f) {
			t.Errorf("%q is not found in %q", f, got)
		}
	}
	if slices.Contains(got, "5") {
		t.Errorf("code is no comment: %q", got)
	}
}

// TestProse: where comments stand, in each kind of file, and what is none.
func TestProse(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a.go", "/* 991\n 992 */ var u = \"https://x.example // 3\" // 993\n", "991 992 993"},
		{"scripts/postgres", "#!/usr/bin/env bash\n# 77\necho $# ${a#4}\t# 78\n", "77 78"},
		{"Makefile", "build: ## 88\n", "88"},
		{"Dockerfile", "# 89\nRUN 5\n", "89"},
		{"a.sql", "-- 90\nSELECT 6; -- 91\n", "90 91"},
		{"a.yaml", "a: 7 # 92\n", "92"},
		{"a.md", "8\n", "8"},
		{"a.json", "[9]", ""},
	} {
		if got := strings.Join(facts(prose(c.name, c.text)), " "); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// TestMeasures: a unit may be spelled in several ways, and stand in code.
func TestMeasures(t *testing.T) {
	for text, want := range map[string]string{
		"30 minutes": "30 min", "30m": "30 min", "30-minute": "30 min", "30 * time.Minute": "30 min", "30*time.Minute": "30 min",
		"1,500 ms": "1,500 ms", "0.5 s.": "0.5 s", "5 %": "5 %", "10us": "10 µs", "64 KiB": "64 kib", "7 days": "7 d",
	} {
		if got := facts(text); !slices.Contains(got, want) {
			t.Errorf("%q: %q without %q", text, got, want)
		}
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
	write("a.go", "// It waits 47 s for OldName, 12\n// s more and 30 min (RFC 6749).\n")
	git("add", "-A")
	git("commit", "-qm", "one")
	write("a.go", "// It waits for NewName.\nvar x = 30 * time.Minute\n")
	write("b.md", "12 s, RFC\n6749\n")
	git("add", "-A")
	git("commit", "-qm", "two")
	write("renamed", "OldName NewName\n") // in no commit, or the old name would stand there
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
	if got := strings.TrimSpace(string(raw)); got != "47 s\ta.go" {
		t.Errorf("%q", got)
	}
}
