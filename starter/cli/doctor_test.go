package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDoctor: the command prints its findings in lines that fit a terminal, and ends with
// the exit code of the worst. Text of a row neither begins a line nor controls the
// terminal.
func TestDoctor(t *testing.T) {
	t.Parallel()
	path, environ, _ := prepared(t)
	d := databaseOf(t, path)
	const foreign = "\x1b]0;owned\a\nwell     schema  forged \u202e"
	_, err := d.SQL.ExecContext(t.Context(), "UPDATE connections SET app = ?", "app"+foreign)
	require.NoError(t, err)

	code, out, err := perennialRun(environ, "", "doctor", "--config", path)
	assert.Equal(t, program.ExitRefused, code)
	assert.ErrorContains(t, err, "2 wrong, see above")
	assert.Contains(t, out, `\x1b]0;owned\x07\x0awell`)
	assert.Contains(t, out, "-> add them to apps again")
	assert.Contains(t, out, "not checked: Temporal could not be opened")
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		assert.True(t, printable.Is(line), "%q", line)
		assert.NotRegexp(t, `^well +schema +forged`, line)
		if !strings.Contains(line, filepath.Dir(path)) { // a path has no spaces
			assert.LessOrEqual(t, utf8.RuneCountInString(line), lineWidth, line)
		}
	}

	code, out, err = perennialRun(environ, "", "doctor", "--json", "--config", path)
	assert.Equal(t, program.ExitRefused, code, "%v", err)
	var report doctor.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, doctor.Wrong, report.State)
	assert.Contains(t, out, `\u001b`)

	_, err = d.SQL.ExecContext(t.Context(), "DELETE FROM connections")
	require.NoError(t, err)
	code, _, err = perennialRun(environ, "", "doctor", "--config", path)
	assert.Equal(t, program.ExitUnavailable, code, "%v", err)

	code, _, err = perennialRun(environ, "", "doctor", "--config", filepath.Join(t.TempDir(), "nowhere.yaml"))
	assert.Equal(t, program.ExitUsage, code, "%v", err)
}

// TestVerdict: a warning is no failure, and a problem counts more than a check that could
// not be checked.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for state, code := range map[doctor.State]int{doctor.Well: program.ExitDone, doctor.Warning: program.ExitDone, doctor.Unknown: program.ExitUnavailable, doctor.Wrong: program.ExitRefused} {
		assert.Equal(t, code, program.ExitCode(verdict(doctor.Report{State: state})), state)
	}
	assert.Equal(t, []doctor.State{doctor.Well, doctor.Warning, doctor.Unknown, doctor.Wrong}, doctor.States)
}

func TestWrap(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "", wrap("", 10))
	assert.Equal(t, "one two", wrap("one  two", 10))
	long := strings.Repeat("x", 90)
	assert.Equal(t, "a\n  "+long+"\n  b", wrap("a "+long+" b", 2))
	assert.Equal(t, strings.Repeat("x", 75)+" yy\n  z", wrap(strings.Repeat("x", 75)+" yy z", 2))
}
