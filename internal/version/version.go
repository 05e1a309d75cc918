// Package version says which program this is: its release, the commit that it was
// built from, and when that commit was made.
package version

import (
	"cmp"
	"log/slog"
	"runtime/debug"
)

// Commit and CommitTime (RFC 3339) are set by the linker where the build sees no
// repository, as in an image:
//
//	go build -ldflags "-X github.com/perennial-oauth/perennial/internal/version.Commit=$(git rev-parse HEAD)
//	  -X github.com/perennial-oauth/perennial/internal/version.CommitTime=$(git show -s --format=%cI)"
//
// Else they are what the go command stamped. `go run` and `go test` stamp nothing.
var (
	Commit     string
	CommitTime string
)

// Unknown stands for what the build did not record.
const Unknown = "unknown"

const module = "github.com/perennial-oauth/perennial"

// Info is a program's origin. Each field is [Unknown] where the build did not record
// it.
type Info struct {
	Version    string `json:"version"`     // the module's: v1.2.3, or a pseudo-version
	Commit     string `json:"commit"`      // followed by "-dirty" where files were changed after it
	CommitTime string `json:"commit_time"` // RFC 3339
	Go         string `json:"go"`
}

// Get returns this program's origin.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return from(build, Commit, CommitTime)
}

// from prefers what the linker was given over the go command's stamps. The stamps
// count only if the main module is this one: in the program of another module, which
// has this one as a library, they are of the other's repository.
func from(build *debug.BuildInfo, commit, commitTime string) Info {
	out := Info{Go: build.GoVersion}
	if build.Main.Path == module {
		out.Version = build.Main.Version
		out.stamp(build.Settings)
	}
	for _, dep := range build.Deps {
		if dep.Path == module {
			out.Version = dep.Version
		}
	}
	if commit != "" {
		out.Commit, out.CommitTime = commit, commitTime
	}
	if out.Version == "(devel)" {
		out.Version = ""
	}
	for _, field := range []*string{&out.Version, &out.Commit, &out.CommitTime, &out.Go} {
		*field = cmp.Or(*field, Unknown)
	}
	return out
}

func (i *Info) stamp(settings []debug.BuildSetting) {
	dirty := false
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value
		case "vcs.time":
			i.CommitTime = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && i.Commit != "" {
		i.Commit += "-dirty"
	}
}

// String is one line for people.
func (i Info) String() string {
	return i.Version + ", commit " + i.Commit + ", committed " + i.CommitTime + ", " + i.Go
}

// LogValue implements [slog.LogValuer].
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(slog.String("version", i.Version), slog.String("commit", i.Commit), slog.String("commit_time", i.CommitTime), slog.String("go", i.Go))
}
