// Package deploy checks the deployment files against the programs that they run.
package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

type composeFile struct {
	Services map[string]struct {
		Image       string
		Build       any // a folder, or a mapping
		Entrypoint  []string
		Command     []string
		Environment map[string]string
		DependsOn   any `yaml:"depends_on"`
		Ports       []string
		Stop        string `yaml:"stop_grace_period"`
		Network     string `yaml:"network_mode"`
		Volumes     []string
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

func compose(t *testing.T) composeFile {
	t.Helper()
	raw, err := os.ReadFile("../docker-compose.yml")
	require.NoError(t, err)
	var f composeFile
	require.NoError(t, yaml.Unmarshal(raw, &f))
	require.Contains(t, f.Services, "worker")
	return f
}

func TestComposeIsSound(t *testing.T) {
	t.Parallel()
	f := compose(t)
	pinned := regexp.MustCompile(`^[a-z./-]+:[0-9][0-9.]+$`)
	for name, s := range f.Services {
		if s.Build == nil {
			assert.Regexp(t, pinned, s.Image, "%s: a pinned release", name)
		}
		if other, shared := strings.CutPrefix(s.Network, "service:"); shared {
			assert.Contains(t, f.Services, other, name)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, "./") {
				assert.FileExists(t, filepath.Join("..", source), name)
			} else {
				assert.Contains(t, f.Volumes, source, name)
			}
		}
		for _, p := range s.Ports {
			assert.True(t, strings.HasPrefix(p, "127.0.0.1:"), "%s publishes %s beyond this machine", name, p)
		}
		switch depends := s.DependsOn.(type) {
		case map[string]any:
			for d := range depends {
				assert.Contains(t, f.Services, d, name)
			}
		case []any:
			for _, d := range depends {
				assert.Contains(t, f.Services, fmt.Sprint(d), name)
			}
		}
	}
	grace, err := time.ParseDuration(f.Services["worker"].Stop)
	require.NoError(t, err)
	assert.Greater(t, grace, refresh.Timing{}.WithDefaults().WorkerStop)
	temporal := f.Services["temporal"].Environment
	assert.Equal(t, "temporal-db", temporal["POSTGRES_SEEDS"], "one outage must not take both")
	assert.Equal(t, "720h", temporal["DEFAULT_NAMESPACE_RETENTION"], "histories are kept for 30 days")
	assert.Equal(t, "512", temporal["NUM_HISTORY_SHARDS"], "it can never be changed later")
}

// TestImagesArePinned reads what the Dockerfile builds from.
func TestImagesArePinned(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(raw), -1)
	require.NotEmpty(t, from)
	for _, image := range from {
		assert.Regexp(t, `:([0-9][0-9a-z.-]+|nonroot)$`, image[1])
	}
}

// TestCommandsExist gives the words of each command that the files run to the
// program itself.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "perennial")
	out, err := exec.Command("go", "build", "-o", binary, "../starter").CombinedOutput()
	require.NoError(t, err, string(out))

	commands := map[string][]string{}
	for name, s := range compose(t).Services {
		if s.Build != nil && len(s.Entrypoint) == 0 {
			commands[name] = s.Command
		}
		if test := s.Healthcheck.Test; len(test) > 1 && test[1] == "/usr/local/bin/perennial" {
			commands[name+"'s healthcheck"] = test[2:]
		}
	}
	script, err := os.ReadFile("compose/demo.sh")
	require.NoError(t, err)
	for i, line := range regexp.MustCompile(`(?m)^\s*perennial (.+)$`).FindAllStringSubmatch(string(script), -1) {
		commands[fmt.Sprintf("command %d of demo.sh", i+1)] = strings.Fields(line[1])
	}
	for _, want := range []string{"keys", "migrate", "setup", "worker's healthcheck", "command 2 of demo.sh"} {
		require.Contains(t, commands, want)
	}
	for name, words := range commands {
		require.NotEmpty(t, words, name)
		out, err := exec.Command(binary, append(slices.Clone(words), "--help")...).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
		path := "perennial"
		for _, word := range words {
			if strings.HasPrefix(word, "-") {
				break
			}
			path += " " + word
		}
		// An unknown word below a known one shows the known one's help.
		assert.Regexp(t, `(?m)^  `+regexp.QuoteMeta(path)+` `, string(out), name)
		for _, word := range words {
			if strings.HasPrefix(word, "--") {
				assert.Contains(t, string(out), word+" ", name)
			}
		}
	}
}

func TestComposeConfigurationLoads(t *testing.T) {
	t.Parallel()
	var environ []string
	worker := compose(t).Services["worker"]
	for k, v := range worker.Environment {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.LoadEnviron("compose/perennial.yaml", environ)
	require.NoError(t, err)
	assert.Contains(t, cfg.DatabaseURL, "perennial-db")
	assert.Contains(t, worker.Volumes, "keys:"+cfg.KeysDir)
	grace, err := time.ParseDuration(worker.Stop)
	require.NoError(t, err)
	assert.Greater(t, grace, cfg.Timing.WorkerStop)
}

func TestKubernetesWorker(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("kubernetes/worker.yaml")
	require.NoError(t, err)
	var d struct {
		Kind string
		Spec struct {
			Claims []struct {
				Metadata struct{ Name string }
			} `yaml:"volumeClaimTemplates"`
			Template struct {
				Spec struct {
					Grace    int `yaml:"terminationGracePeriodSeconds"`
					Security struct {
						RunAsNonRoot bool `yaml:"runAsNonRoot"`
					} `yaml:"securityContext"`
					Containers []struct {
						Image   string
						Command []string
						Env     []struct{ Name, Value string }
						Mounts  []struct {
							Name string
							Path string `yaml:"mountPath"`
						} `yaml:"volumeMounts"`
						Liveness  any `yaml:"livenessProbe"`
						Readiness any `yaml:"readinessProbe"`
						Security  struct {
							ReadOnly bool `yaml:"readOnlyRootFilesystem"`
						} `yaml:"securityContext"`
					}
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &d))
	pod := d.Spec.Template.Spec
	assert.Greater(t, time.Duration(pod.Grace)*time.Second, refresh.Timing{}.WithDefaults().WorkerStop)
	// The spool is on a volume of the worker's own that outlives it.
	require.Equal(t, "StatefulSet", d.Kind)
	require.Len(t, d.Spec.Claims, 1)
	spool := ""
	for _, e := range pod.Containers[0].Env {
		if e.Name == "PERENNIAL_SPOOL" {
			spool = e.Value
		}
	}
	mounted := ""
	for _, m := range pod.Containers[0].Mounts {
		if m.Name == d.Spec.Claims[0].Metadata.Name {
			mounted = m.Path
		}
	}
	require.NotEmpty(t, mounted)
	assert.True(t, strings.HasPrefix(spool, mounted+"/"), "the spool %q is not on the volume at %q", spool, mounted)
	assert.True(t, pod.Security.RunAsNonRoot)
	require.Len(t, pod.Containers, 1)
	c := pod.Containers[0]
	assert.Regexp(t, `:[a-z0-9.-]+$`, c.Image)
	assert.NotRegexp(t, `:latest$`, c.Image)
	assert.Equal(t, "/usr/local/bin/worker", c.Command[0])
	assert.NotNil(t, c.Liveness)
	assert.NotNil(t, c.Readiness)
	assert.True(t, c.Security.ReadOnly)
}
