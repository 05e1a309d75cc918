// Package deploy checks the deployment files against the programs that they run.
package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestImagesArePinned checks the images that the Dockerfile builds from.
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
	assert.Greater(t, time.Duration(pod.Grace)*time.Second, timing.Config{}.WithDefaults().WorkerStop)
	// The spool is on a volume of the worker's own that outlives the worker.
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
