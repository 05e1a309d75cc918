package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// problems lists what would keep the services from coming up, or from staying up. root
// is the folder of the files that the services mount.
func (f composeFile) problems(root string) []string {
	var found problems
	for key := range f.Rest {
		found.addIf(!strings.HasPrefix(key, "x-"), "%s is no key of a compose file", key)
	}
	f.checkPorts(&found)
	f.checkNames(&found)
	f.checkVolumes(&found, root)
	f.checkImages(&found)
	for name, s := range f.sorted() {
		f.checkDependencies(&found, name, s)
		f.checkRestart(&found, name, s)
	}
	return found
}

type problems []string

func (p *problems) addIf(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

// sorted yields the services by name, so that messages have one order.
func (f composeFile) sorted() func(yield func(string, service) bool) {
	return func(yield func(string, service) bool) {
		for _, name := range slices.Sorted(maps.Keys(f.Services)) {
			if !yield(name, f.Services[name]) {
				return
			}
		}
	}
}

var publishedPort = regexp.MustCompile(`^(127\.0\.0\.1:\d+):(\d+)$`)

func (f composeFile) checkPorts(found *problems) {
	publisher := map[string]string{}
	for name, s := range f.sorted() {
		found.addIf(s.NetworkMode != "" && len(s.Ports) > 0, "%s publishes ports of a network that is another's", name)
		for _, p := range s.Ports {
			m := publishedPort.FindStringSubmatch(p)
			if m == nil {
				found.addIf(true, "%s publishes %s, which is not 127.0.0.1:PORT:PORT", name, p)
				continue
			}
			found.addIf(publisher[m[1]] != "", "%s and %s both publish %s", publisher[m[1]], name, m[1])
			publisher[m[1]] = name
		}
	}
}

func (f composeFile) checkNames(found *problems) {
	owner := map[string]string{}
	for name := range f.Services {
		owner[name] = name
	}
	for name, s := range f.sorted() {
		if s.ContainerName == "" || s.ContainerName == name {
			continue
		}
		found.addIf(owner[s.ContainerName] != "", "%s and %s have the container name %s", owner[s.ContainerName], name, s.ContainerName)
		owner[s.ContainerName] = name
	}
}

func (f composeFile) checkVolumes(found *problems, root string) {
	used := map[string]bool{}
	for name, s := range f.sorted() {
		targets := map[string]bool{}
		for _, v := range s.Volumes {
			source, rest, _ := strings.Cut(v, ":")
			target, _, _ := strings.Cut(rest, ":")
			found.addIf(targets[target], "%s mounts two volumes at %s", name, target)
			targets[target], used[source] = true, true
			if strings.HasPrefix(source, ".") || strings.HasPrefix(source, "/") {
				_, err := os.Stat(filepath.Join(root, source))
				found.addIf(err != nil, "%s mounts %s, which does not exist", name, source)
				continue
			}
			_, declared := f.Volumes[source]
			found.addIf(!declared, "%s uses the volume %s, which is not declared", name, source)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Volumes)) {
		found.addIf(!used[name], "the volume %s is declared and not used", name)
	}
}

// deprecated has images without further releases, and their successors.
var deprecated = map[string]string{
	"temporalio/auto-setup": "temporalio/server with temporalio/admin-tools",
	"temporalio/web":        "temporalio/ui",
}

var pinnedImage = regexp.MustCompile(`^([a-z0-9./-]+):(\d+(?:\.\d+)+)$`)

func (f composeFile) checkImages(found *problems) {
	builder, release := map[string]string{}, map[string]string{}
	for name, s := range f.sorted() {
		repository, _, _ := strings.Cut(s.Image, ":")
		found.addIf(deprecated[repository] != "", "%s runs %s, which is deprecated: use %s", name, repository, deprecated[repository])
		if s.Build != nil {
			other := builder[s.Image]
			found.addIf(other != "" && !reflect.DeepEqual(f.Services[other].Build, s.Build), "%s and %s build the image %s differently", other, name, s.Image)
			builder[s.Image] = name
			continue
		}
		m := pinnedImage.FindStringSubmatch(s.Image)
		found.addIf(m == nil, "%s runs %s, which is not a pinned release", name, s.Image)
		if m != nil {
			release[name] = m[2]
		}
	}
	for name, s := range f.sorted() { // the tools have the schema of their own release
		found.addIf(strings.HasPrefix(s.Image, "temporalio/admin-tools:") && release[name] != release["temporal"],
			"%s is of release %s, temporal of %s", name, release[name], release["temporal"])
	}
}

func (f composeFile) checkDependencies(found *problems, name string, s service) {
	if owner, shares := strings.CutPrefix(s.NetworkMode, "service:"); shares {
		_, known := f.Services[owner]
		found.addIf(!known, "%s uses the network of %s, which is no service", name, owner)
	}
	for _, d := range slices.Sorted(maps.Keys(s.DependsOn)) {
		other, known := f.Services[d]
		found.addIf(!known, "%s depends on %s, which is no service", name, d)
		// A service without profiles is always started, but d would then be missing.
		missing := len(other.Profiles) > 0 && (len(s.Profiles) == 0 || slices.ContainsFunc(s.Profiles, func(p string) bool { return !slices.Contains(other.Profiles, p) }))
		found.addIf(missing, "%s depends on %s, which has profiles that %s has not", name, d, name)
		switch condition := s.DependsOn[d]; condition {
		case "service_started":
		case "service_healthy":
			found.addIf(other.Healthcheck == nil, "%s waits for the health of %s, which has no healthcheck", name, d)
		case "service_completed_successfully":
			found.addIf(other.Restart != "no", "%s waits for the end of %s, which is restarted", name, d)
		default:
			found.addIf(true, "%s waits for %s by %q, which is no condition", name, d, condition)
		}
	}
	found.addIf(f.reaches(name, name, map[string]bool{}), "%s waits for itself", name)
}

// reaches reports whether from depends on target, over any number of others.
func (f composeFile) reaches(from, target string, seen map[string]bool) bool {
	s := f.Services[from]
	next := slices.Collect(maps.Keys(s.DependsOn))
	if owner, shares := strings.CutPrefix(s.NetworkMode, "service:"); shares {
		next = append(next, owner)
	}
	for _, d := range next {
		if d == target {
			return true
		}
		if !seen[d] {
			seen[d] = true
			if f.reaches(d, target, seen) {
				return true
			}
		}
	}
	return false
}

// checkRestart: each service says whether it keeps running or ends. A service that
// people reach from outside, or that another service needs while it runs, keeps
// running.
func (f composeFile) checkRestart(found *problems, name string, s service) {
	found.addIf(s.Restart != "no" && s.Restart != "unless-stopped", `%s has the restart policy %q: give "unless-stopped", or "no" if it ends by itself`, name, s.Restart)
	runsOn := len(s.Ports) > 0 || s.Healthcheck != nil
	for _, other := range f.Services {
		runsOn = runsOn || other.NetworkMode == "service:"+name
	}
	found.addIf(runsOn && s.Restart == "no", "%s runs on, and has the restart policy %q", name, s.Restart)
}
