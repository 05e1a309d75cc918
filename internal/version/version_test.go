package version

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	stamps := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-11-26T10:00:00Z"}, {Key: "vcs.modified", Value: "false"}}
	dirty := append(stamps[:2:2], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	own := debug.Module{Path: module, Version: "v1.2.3"}
	for _, tc := range []struct {
		name               string
		build              debug.BuildInfo
		commit, commitTime string
		want               Info
	}{
		{name: "go build in the repository", build: debug.BuildInfo{GoVersion: "go1.26", Main: own, Settings: stamps},
			want: Info{"v1.2.3", "abc", "2026-11-26T10:00:00Z", "go1.26"}},
		{name: "with changed files", build: debug.BuildInfo{GoVersion: "go1.26", Main: own, Settings: dirty},
			want: Info{"v1.2.3", "abc-dirty", "2026-11-26T10:00:00Z", "go1.26"}},
		{name: "go run", build: debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Path: module, Version: "(devel)"}},
			want: Info{Unknown, Unknown, Unknown, "go1.26"}},
		{name: "the linker's", build: debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Path: module, Version: "(devel)"}}, commit: "def", commitTime: "2026-11-27T10:00:00Z",
			want: Info{Unknown, "def", "2026-11-27T10:00:00Z", "go1.26"}},
		{name: "the linker's above the stamps", build: debug.BuildInfo{Main: own, Settings: stamps}, commit: "def",
			want: Info{"v1.2.3", "def", Unknown, Unknown}},
		{name: "a library of another module, whose stamps are its own", build: debug.BuildInfo{Main: debug.Module{Path: "example.com/team", Version: "v9.9.9"}, Settings: stamps, Deps: []*debug.Module{{Path: "example.com/x", Version: "v7.0.0"}, {Path: module, Version: "v1.0.0"}}},
			want: Info{"v1.0.0", Unknown, Unknown, Unknown}},
		{name: "nothing is known", want: Info{Unknown, Unknown, Unknown, Unknown}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, from(&tc.build, tc.commit, tc.commitTime))
		})
	}
}
