package dev_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	starting = "Perennial: starting everything on this machine ...\n"
	curlLine = `(?m)^  (curl .*)$`
)

// prepared builds the Temporal server beforehand, so that no start waits for it.
func prepared(t *testing.T) {
	t.Helper()
	_, err := devserver.Path(t.Context(), os.Stderr)
	require.NoError(t, err)
}

// curl runs the command line that dev printed, like a person who pastes it.
func (p *process) curl() (line string) {
	p.Helper()
	p.await("\nNext: ")
	found := regexp.MustCompile(curlLine).FindStringSubmatch(p.output())
	require.NotNil(p, found, p.output())
	out, err := exec.Command("sh", "-c", found[1]+` -w '\n%{http_code}'`).CombinedOutput()
	require.NoError(p, err, "%s", out)
	body, status, _ := strings.Cut(string(out), "\n")
	require.Equal(p, "200", strings.TrimSpace(status), body)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(p, json.Unmarshal([]byte(body), &token), body)
	assert.NotEmpty(p, token.AccessToken)
	return found[1]
}

// TestAfterReady: the printed command line works, also after a restart; keys do not
// pile up; and Ctrl-C is a success.
func TestAfterReady(t *testing.T) {
	t.Parallel()
	prepared(t)
	dir := filepath.Join(t.TempDir(), "a folder # that's odd: 100%")
	key := filepath.Join(dir, "api-key")
	var first string
	for n, c := range []struct {
		before func()
		same   bool // the line equals that of the first start
	}{
		{func() {}, true},
		{func() { require.NoError(t, os.Chmod(key, 0o644)) }, true},
		{func() { require.NoError(t, os.WriteFile(key, []byte("pk_no\nkey\n"), 0o600)) }, false},
	} {
		c.before()
		p := command(t, dir, []string{"http_proxy=http://127.0.0.1:1", "TEMPORAL_NAMESPACE="}).start()
		line := p.curl()
		if n == 0 {
			first = line
		}
		// Another process may have taken a port meanwhile.
		key := regexp.MustCompile(`pk_[0-9a-f_]+`)
		assert.Equal(t, c.same, key.FindString(first) == key.FindString(line))
		assert.Contains(t, p.output(), "Next: open http://127.0.0.1:")
		p.signal(syscall.SIGINT)
		code, out := p.exit()
		assert.Zero(t, code, out)
		assert.Contains(t, out, " refreshes in all")
	}
	info, err := os.Stat(key)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(dir, "perennial.db"), db.Pool{})
	require.NoError(t, err)
	defer d.Close()
	keys, err := api.NewKeyStore(d).List(t.Context(), accesstest.Of(t, "demo"))
	require.NoError(t, err)
	require.Len(t, keys, 2)
	assert.False(t, keys[0].RevokedAt.IsZero(), "the key that was lost is revoked")
	assert.True(t, keys[1].RevokedAt.IsZero())
}

// TestKilledAtAnyMoment kills dev at random moments of its start: it always prints a
// message and leaves nothing behind, and the next start works.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	prepared(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	whole := readied(t, t.TempDir())
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 2 { // each start from an empty folder
				dir := t.TempDir()
				for range 5 {
					killedAfter(t, dir, time.Duration(random.Int64N(int64(whole))), signal)
				}
				readied(t, dir)
			}
		})
	}
}

// readied starts dev, checks that it works, ends it with Ctrl-C, and returns how long
// the start took.
func readied(t *testing.T, dir string) time.Duration {
	t.Helper()
	p := command(t, dir, nil).start()
	p.await(starting)
	began := time.Now()
	p.await("\nReady. ")
	took := time.Since(began)
	p.curl()
	p.signal(syscall.SIGINT)
	code, out := p.exit()
	require.Zero(t, code, out)
	return took
}

// killedAfter sends the signal at this moment after the start began. dev may be ready
// by then if the machine is faster than before.
func killedAfter(t *testing.T, dir string, moment time.Duration, signal syscall.Signal) {
	t.Helper()
	p := command(t, dir, nil).start()
	p.await(starting)
	select {
	case <-time.After(moment): // waits for no condition: the moment itself is under test
	case <-p.ended:
		require.Fail(t, "it ended by itself", p.output())
	}
	p.signal(signal)
	code, out := p.exit()
	if strings.Contains(out, "\nReady. ") {
		require.Zero(t, code, "%s after %s:\n%s", signal, moment, out)
		require.Contains(t, out, " refreshes in all")
		return
	}
	require.Equal(t, 1, code, "%s after %s:\n%s", signal, moment, out)
	require.Equal(t, starting+fmt.Sprintf("perennial: stopped before everything was ready (%s signal received): run it again to carry on\n", signal), out, "after %s", moment)
}
