package deploy

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.yaml.in/yaml/v3"
)

// manifest is the part of Kubernetes' API that the project uses. An unknown key is an
// error: it is misspelt, or its rules are missing below.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   metadata
	Spec       spec
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
}

type metadata struct {
	Name         string
	GenerateName string `yaml:"generateName"`
	Labels       map[string]string
}

type spec struct {
	ServiceName         string `yaml:"serviceName"`
	Replicas            int
	PodManagementPolicy string `yaml:"podManagementPolicy"`
	Selector            map[string]any
	BackoffLimit        int `yaml:"backoffLimit"`
	TTL                 int `yaml:"ttlSecondsAfterFinished"`
	Ports               []struct {
		Name       string
		Port       int
		TargetPort string `yaml:"targetPort"`
	}
	Template struct {
		Metadata metadata
		Spec     pod
	}
	Claims []struct {
		Metadata metadata
		Spec     struct {
			AccessModes []string `yaml:"accessModes"`
			Resources   resources
		}
	} `yaml:"volumeClaimTemplates"`
}

type resources struct{ Requests, Limits map[string]string }

type pod struct {
	RestartPolicy      string      `yaml:"restartPolicy"`
	Grace              int         `yaml:"terminationGracePeriodSeconds"`
	EnableServiceLinks *bool       `yaml:"enableServiceLinks"`
	InitContainers     []container `yaml:"initContainers"`
	Containers         []container
	Security           struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		RunAsUser      int                   `yaml:"runAsUser"`
		RunAsGroup     int                   `yaml:"runAsGroup"`
		FSGroup        int                   `yaml:"fsGroup"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Volumes []volume
}

type volume struct {
	Name      string
	ConfigMap struct{ Name string } `yaml:"configMap"`
	Secret    struct {
		Name        string `yaml:"secretName"`
		DefaultMode int    `yaml:"defaultMode"`
	}
}

type container struct {
	Name, Image string
	Command     []string
	EnvFrom     []struct {
		SecretRef metadata `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Env   []struct{ Name, Value string }
	Ports []struct {
		Name          string
		ContainerPort string `yaml:"containerPort"`
	}
	Liveness  *probe `yaml:"livenessProbe"`
	Readiness *probe `yaml:"readinessProbe"`
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
	Resources resources
	Security  struct {
		ReadOnly   bool `yaml:"readOnlyRootFilesystem"`
		Escalation bool `yaml:"allowPrivilegeEscalation"`
		// Capabilities lists those to drop.
		Capabilities struct{ Drop []string }
	} `yaml:"securityContext"`
	Mounts []struct {
		Name     string
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifests returns all manifests by kind and name.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob("kubernetes/*.yaml")
	require.NoError(t, err)
	out := map[string]manifest{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		decoder := yaml.NewDecoder(bytes.NewReader(raw))
		decoder.KnownFields(true)
		for {
			var m manifest
			err := decoder.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, file)
			out[m.Kind+" "+m.Metadata.Name+m.Metadata.GenerateName] = m
		}
	}
	return out
}

// workloads are the manifests that run programs.
var workloads = []string{"StatefulSet perennial-worker", "Deployment perennial-server", "Job perennial-setup-"}

// podOf returns the pod of a workload, and all its containers.
func podOf(t *testing.T, name string) (pod, []container) {
	t.Helper()
	all := manifests(t)
	require.Contains(t, all, name)
	p := all[name].Spec.Template.Spec
	return p, append(p.InitContainers, p.Containers...)
}

func TestKubernetesPods(t *testing.T) {
	t.Parallel()
	apis := map[string]string{"StatefulSet": "apps/v1", "Deployment": "apps/v1", "Job": "batch/v1", "Service": "v1", "ConfigMap": "v1", "Secret": "v1"}
	for name, m := range manifests(t) {
		assert.Equal(t, apis[m.Kind], m.APIVersion, name)
	}
	for _, name := range workloads {
		p, containers := podOf(t, name)
		// A Service perennial-server would set PERENNIAL_SERVER_PORT, which no program
		// reads, so each would refuse to start.
		require.NotNil(t, p.EnableServiceLinks, name)
		assert.False(t, *p.EnableServiceLinks, name)
		assert.True(t, p.Security.RunAsNonRoot, name)
		assert.NotZero(t, p.Security.FSGroup, name)
		require.NotEmpty(t, containers, name)
		volumes := map[string]volume{}
		for _, v := range p.Volumes {
			volumes[v.Name] = v
			if v.Secret.Name != "" {
				assert.Zero(t, v.Secret.DefaultMode&0o007, "%s: others could read %s", name, v.Name)
			}
		}
		for _, claim := range manifests(t)[name].Spec.Claims {
			volumes[claim.Metadata.Name] = volume{}
		}
		for _, c := range containers {
			assert.Regexp(t, `:[a-z0-9.-]+$`, c.Image, name)
			assert.NotRegexp(t, `:latest$`, c.Image, name)
			assert.True(t, c.Security.ReadOnly, "%s: %s", name, c.Name)
			assert.False(t, c.Security.Escalation, "%s: %s", name, c.Name)
			assert.Equal(t, []string{"ALL"}, c.Security.Capabilities.Drop, "%s: %s", name, c.Name)
			for _, mount := range c.Mounts {
				assert.Contains(t, volumes, mount.Name, name)
			}
		}
	}
}

// TestKubernetesGrace: a stopping process has time to finish its work.
func TestKubernetesGrace(t *testing.T) {
	t.Parallel()
	worker, _ := podOf(t, "StatefulSet perennial-worker")
	assert.Greater(t, time.Duration(worker.Grace)*time.Second, kubernetesConfig(t, worker.Containers[0]).Timing.WorkerStop)
	server, _ := podOf(t, "Deployment perennial-server")
	sleep := server.Containers[0].Lifecycle.PreStop.Sleep.Seconds
	assert.NotZero(t, sleep)
	assert.Greater(t, time.Duration(server.Grace-sleep)*time.Second, wiring.DrainTimeout)
}

// kubernetesConfig returns the configuration as the container's program reads it.
func kubernetesConfig(t *testing.T, c container) *config.Config {
	t.Helper()
	all := manifests(t)
	file := filepath.Join(t.TempDir(), "perennial.yaml")
	require.NoError(t, os.WriteFile(file, []byte(all["ConfigMap perennial"].Data["perennial.yaml"]), 0o600))
	var environ []string
	for _, from := range c.EnvFrom {
		secret := all["Secret "+from.SecretRef.Name]
		require.NotEmpty(t, secret.StringData, c.Name)
		for name, value := range secret.StringData {
			environ = append(environ, name+"="+value)
		}
	}
	for _, e := range c.Env {
		environ = append(environ, e.Name+"="+e.Value)
	}
	cfg, err := config.LoadEnviron(file, environ)
	require.NoError(t, err, c.Name)
	return cfg
}

// TestKubernetesSettings compares the settings with the mounted files and the published ports.
func TestKubernetesSettings(t *testing.T) {
	t.Parallel()
	for _, name := range workloads {
		_, containers := podOf(t, name)
		for _, c := range containers {
			cfg := kubernetesConfig(t, c)
			mounts, ports := map[string]string{}, map[string]string{}
			for _, m := range c.Mounts {
				mounts[m.Name] = m.Path
			}
			for _, p := range c.Ports {
				ports[p.Name] = "0.0.0.0:" + p.ContainerPort
			}
			assert.Contains(t, c.Command, path.Join(mounts["config"], "perennial.yaml"), name)
			assert.Contains(t, cfg.DatabaseURL, "sslrootcert="+path.Join(mounts["config"], "db-ca.pem"), name)
			assert.NotEmpty(t, cfg.KMSURI, "%s: the group can read the keys", name)
			switch path.Base(c.Command[0]) {
			case "worker":
				assert.Equal(t, mounts["keys"], cfg.KeysDir)
				assert.True(t, strings.HasPrefix(cfg.Spool, mounts["spool"]+"/"), "the spool %q is not on the volume at %q", cfg.Spool, mounts["spool"])
				assert.Equal(t, ports["health"], cfg.Listen)
			case "server":
				assert.Equal(t, mounts["keys"], cfg.KeysDir)
				assert.Empty(t, cfg.Spool, "no volume outlives a server")
				assert.Equal(t, mounts["tls"], path.Dir(cfg.Server.TLSKey))
				assert.Equal(t, mounts["tls"], path.Dir(cfg.Server.TLSCert))
				assert.Equal(t, ports["https"], cfg.Server.Listen)
				assert.Equal(t, ports["health"], cfg.Server.Health)
			}
		}
	}
	all := manifests(t)
	assert.Contains(t, all["ConfigMap perennial"].Data, "db-ca.pem")
	service := all["Service perennial-server"].Spec
	assert.Equal(t, "https", service.Ports[0].TargetPort)
	assert.Equal(t, "perennial-server", service.Selector["app"])
	require.Len(t, all["StatefulSet perennial-worker"].Spec.Claims, 1, "the spool outlives its worker")
}

// kubernetesCommands asks the programs for each command and flag of the manifests.
func kubernetesCommands(t *testing.T, programs map[string]string) {
	var ran []string
	for _, name := range workloads {
		_, containers := podOf(t, name)
		for _, c := range containers {
			program, there := strings.CutPrefix(c.Command[0], "/usr/local/bin/")
			require.True(t, there, name)
			require.Contains(t, programs, program, name)
			ran = append(ran, program+" "+c.Command[1])
			if program == "perennial" {
				commandExists(t, programs[program], name, c.Command[1:])
				continue
			}
			help, _ := exec.Command(programs[program], "--help").CombinedOutput() // with any exit code
			assert.Contains(t, string(help), "-config", name)
			assert.Equal(t, "--config", c.Command[1], name)
		}
	}
	assert.Equal(t, []string{"worker --config", "server --config", "perennial migrate", "perennial setup"}, ran)
}

// TestKubernetesProbes asks the real health server for each path.
func TestKubernetesProbes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := &config.Config{DatabaseURL: "sqlite:" + filepath.Join(dir, "p.db"), KeysDir: filepath.Join(dir, "keys"), AllowPlaintextKeys: true}
	require.NoError(t, seal.Generate(cfg.KeysDir, nil, true))
	d, err := db.Open(t.Context(), cfg.DatabaseURL, cfg.DatabasePool)
	require.NoError(t, err)
	_, _, err = d.Migrate(t.Context())
	require.NoError(t, errors.Join(err, d.Close()))
	deps, err := wiring.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer deps.Close()
	away, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	require.NoError(t, err)
	defer away.Close()
	health, err := wiring.ServeHealth("127.0.0.1:0", deps, away, prometheus.NewRegistry())
	require.NoError(t, err)
	defer health.Close()
	health.Started()

	for _, name := range workloads[:2] {
		_, containers := podOf(t, name)
		for want, p := range map[string]*probe{"/healthz": containers[0].Liveness, "/readyz": containers[0].Readiness} {
			require.NotNil(t, p, name)
			assert.Equal(t, want, p.HTTPGet.Path, "%s: a liveness probe that looks further would restart what works", name)
			assert.Equal(t, "health", p.HTTPGet.Port, name)
			reply, err := http.Get("http://" + net.JoinHostPort("127.0.0.1", portOf(t, health.Address())) + p.HTTPGet.Path)
			require.NoError(t, err)
			require.NoError(t, reply.Body.Close())
			assert.Equal(t, http.StatusOK, reply.StatusCode, "%s %s: Temporal is away", name, p.HTTPGet.Path)
		}
	}
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return port
}
