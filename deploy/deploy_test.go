// Package deploy checks the deployment files against the programs that they run.
package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
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
		Build       string
		Entrypoint  []string
		Command     []string
		Environment map[string]string
		DependsOn   any `yaml:"depends_on"`
		Ports       []string
		Stop        string `yaml:"stop_grace_period"`
		Network     string `yaml:"network_mode"`
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
		if s.Build == "" {
			assert.Regexp(t, pinned, s.Image, "%s: a pinned release", name)
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
	assert.NotEqual(t, f.Services["temporal"].Environment["POSTGRES_SEEDS"], "perennial-db", "one outage must not take both")
}

// TestComposeCommandsExist gives each command's words to the program itself.
func TestComposeCommandsExist(t *testing.T) {
	t.Parallel()
	binary := t.TempDir() + "/perennial"
	out, err := exec.Command("go", "build", "-o", binary, "../starter").CombinedOutput()
	require.NoError(t, err, string(out))
	for name, s := range compose(t).Services {
		if s.Build == "" || len(s.Entrypoint) > 0 {
			continue
		}
		out, err := exec.Command(binary, append(s.Command, "--help")...).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
		for _, word := range s.Command {
			if strings.HasPrefix(word, "--") {
				assert.Contains(t, string(out), word, name)
			}
		}
	}
}

func TestComposeConfigurationLoads(t *testing.T) {
	t.Parallel()
	var environ []string
	for k, v := range compose(t).Services["worker"].Environment {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.LoadEnviron("compose/perennial.yaml", environ)
	require.NoError(t, err)
	assert.Contains(t, cfg.DatabaseURL, "perennial-db")
}

func TestKubernetesGrace(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("kubernetes/worker.yaml")
	require.NoError(t, err)
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Grace int `yaml:"terminationGracePeriodSeconds"`
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &d))
	assert.Greater(t, time.Duration(d.Spec.Template.Spec.Grace)*time.Second, refresh.Timing{}.WithDefaults().WorkerStop)
}
