package program_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const stamps = "-X github.com/perennial-oauth/perennial/internal/version.Commit=0123abc -X github.com/perennial-oauth/perennial/internal/version.CommitTime=2026-11-26T10:00:00Z"

// TestPrograms runs the three programs as an image builds them: with each thing missing
// that may be missing at a start, and with the options that a newcomer tries first.
func TestPrograms(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", stamps, "-o", bin, "../../starter", "../../worker", "../../server").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.Rename(filepath.Join(bin, "starter"), filepath.Join(bin, "perennial")))

	dir := t.TempDir()
	configuration := func(name, database, keys, more string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `
database_url: %q
keys: %s/%s
allow_plaintext_keys: true
listen: 127.0.0.1:0
server: {listen: "127.0.0.1:0", health: "127.0.0.1:0"}
%s
apps: [{name: app, provider: hubspot, client_id: id, client_secret_env: APP_SECRET}]
`, database, dir, keys, more), 0o600))
		return path
	}
	require.NoError(t, seal.Generate(filepath.Join(dir, "keys"), nil, true))
	db, err := store.Open(t.Context(), "sqlite:"+dir+"/migrated.db")
	require.NoError(t, err)
	_, _, err = db.Migrate(t.Context())
	require.NoError(t, err)
	require.NoError(t, db.Close())
	good := configuration("good.yaml", "sqlite:"+dir+"/migrated.db", "keys", "")

	for _, tc := range []struct {
		name   string
		args   []string
		code   int
		stdout string // a pattern; empty: no output
		stderr string
	}{
		{"version", []string{"--version"}, 0, `^PROGRAM unknown, commit 0123abc, committed 2026-11-26T10:00:00Z, go1\.\S+\n$`, ""},
		{"help", []string{"--help"}, 0, `(?s)PROGRAM.*-config`, ""},
		{"short help", []string{"-h"}, 0, `-config`, ""},
		{"unknown flag", []string{"--no-such-flag"}, 2, "", `no-such-flag.*--help`},
		{"flag without its value", []string{"--config"}, 2, "", `config.*--help`},
		{"no configuration", []string{"--config", "nowhere.yaml"}, 2, "", `there is no configuration at nowhere\.yaml`},
		{"wrong configuration", []string{"--config", configuration("bad.yaml", "sqlite:x", "keys", "listn: x")}, 2, "", `listn`},
		{"no keys", []string{"--config", configuration("nokeys.yaml", "sqlite:"+dir+"/migrated.db", "none", "")}, 2, "", `keys new`},
		{"no database", []string{"--config", configuration("nodb.yaml", "postgres://perennial@127.0.0.1:1/x?sslmode=disable", "keys", "")}, 6, "", `the database does not answer`},
		{"no schema", []string{"--config", configuration("empty.yaml", "sqlite:"+dir+"/empty.db", "keys", "")}, 4, "", `perennial migrate`},
		{"no Temporal", []string{"--config", good}, 6, "", `no Temporal server answers at 127\.0\.0\.1:1`},
	} {
		for _, name := range []string{"perennial", "worker", "server"} {
			args := tc.args
			if name == "perennial" && args[0] == "--config" {
				args = append([]string{"worker"}, args...)
			}
			run := exec.Command(filepath.Join(bin, name), args...)
			run.Dir, run.Env = dir, []string{"HOME=" + dir, "APP_SECRET=planted-client-secret", "TEMPORAL_ADDRESS=127.0.0.1:1"}
			var stdout, stderr strings.Builder
			run.Stdout, run.Stderr = &stdout, &stderr
			_ = run.Run() // the test checks the exit code instead
			assert.Equal(t, tc.code, run.ProcessState.ExitCode(), "%s, %s: %s", name, tc.name, stderr.String())
			for pattern, got := range map[string]string{tc.stdout: stdout.String(), tc.stderr: stderr.String()} {
				if pattern == "" {
					continue
				}
				assert.Regexp(t, strings.ReplaceAll(pattern, "PROGRAM", name), got, "%s, %s", name, tc.name)
			}
			if tc.stdout == "" {
				assert.Empty(t, stdout.String(), "%s, %s", name, tc.name)
			} else {
				assert.Empty(t, stderr.String(), "%s, %s", name, tc.name)
			}
			assert.NotContains(t, stderr.String(), "planted-client-secret")
		}
	}
	for _, name := range []string{"perennial", "worker", "server"} {
		err := exec.Command(filepath.Join(bin, name), "no-such-word").Run()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, name)
		assert.Equal(t, 2, exit.ExitCode(), name)
	}
}
