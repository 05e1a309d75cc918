package devserver

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/gobuild"
)

// Version is the pinned release of Temporal's command line, built if none is found.
// Later releases cannot be installed as a Go tool.
const Version = "v1.5.1"

// oldest is the oldest release on PATH that is used. Earlier ones lack current details.
var oldest = [3]int{1, 3, 0}

// Path returns a development server's program: the one on PATH if it is recent enough,
// else the pinned one from the cache, else the pinned one built from source. It builds
// only once, and writes a line to progress for each step that takes time. Several
// processes may call it at once.
func Path(ctx context.Context, progress io.Writer) (string, error) {
	if path, err := exec.LookPath("temporal"); err == nil {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if version, ok := parseVersion(string(out)); err == nil && ok && !before(version, oldest) {
			return path, nil
		}
		fmt.Fprintf(progress, "The temporal on PATH is older than %d.%d or does not say its version; the pinned one is used.\n", oldest[0], oldest[1])
	}
	path, err := gobuild.Program{Name: "temporal", Package: "github.com/temporalio/cli/cmd/temporal", Version: Version}.Path(ctx, progress)
	if err != nil && ctx.Err() == nil {
		err = perennial.Errorf(perennial.CodeOf(err), "%w\nOr do without the build: install Temporal's command line (https://docs.temporal.io/cli), or set TEMPORAL_ADDRESS to a server that runs", err)
	}
	return path, err
}

var versionForm = regexp.MustCompile(`version (\d+)\.(\d+)\.(\d+)`)

// parseVersion reads "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)". A development
// build, 0.0.0, counts as recent: somebody built it deliberately.
func parseVersion(out string) (v [3]int, ok bool) {
	m := versionForm.FindStringSubmatch(out)
	if m == nil {
		return v, false
	}
	for i := range v {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

func before(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
