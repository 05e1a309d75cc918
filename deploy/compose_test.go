package deploy

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// composeFile is the part of the Compose Specification that the project uses. An
// unknown key is an error: it is misspelt, or its rules are missing below.
type composeFile struct {
	Services map[string]service
	Volumes  map[string]any
	Rest     map[string]any `yaml:",inline"` // extensions, x-...
}

type service struct {
	Image         string
	ContainerName string `yaml:"container_name"`
	Build         *build
	Restart       string
	Profiles      []string
	Entrypoint    []string
	Command       []string
	Environment   map[string]string
	DependsOn     dependencies `yaml:"depends_on"`
	Ports         []string
	StopGrace     time.Duration `yaml:"stop_grace_period"`
	StopSignal    string        `yaml:"stop_signal"`
	NetworkMode   string        `yaml:"network_mode"`
	Volumes       []string
	Healthcheck   *struct {
		Test              []string
		Interval, Timeout time.Duration
		Retries           int
	}
}

type build struct {
	Context, Target string
	Args            map[string]string
}

// UnmarshalYAML also accepts the short form, which has only the context.
func (b *build) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return node.Decode(&b.Context)
	}
	type long build
	return node.Decode((*long)(b))
}

// dependencies has the condition for each service.
type dependencies map[string]string

// UnmarshalYAML also accepts the short form, a list of services.
func (d *dependencies) UnmarshalYAML(node *yaml.Node) error {
	*d = dependencies{}
	if node.Kind == yaml.SequenceNode {
		var names []string
		if err := node.Decode(&names); err != nil {
			return err
		}
		for _, name := range names {
			(*d)[name] = "service_started"
		}
		return nil
	}
	var long map[string]struct{ Condition string }
	if err := node.Decode(&long); err != nil {
		return err
	}
	for name, dependency := range long {
		(*d)[name] = dependency.Condition
	}
	return nil
}

func parseCompose(raw []byte) (f composeFile, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	return f, decoder.Decode(&f)
}

func readCompose(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../docker-compose.yml")
	require.NoError(t, err)
	return string(raw)
}

func compose(t *testing.T) composeFile {
	t.Helper()
	f, err := parseCompose([]byte(readCompose(t)))
	require.NoError(t, err)
	require.Contains(t, f.Services, "worker")
	return f
}

func TestComposeIsSound(t *testing.T) {
	t.Parallel()
	assert.Empty(t, strings.Join(compose(t).problems(".."), "\n"))
}

// TestComposeRules puts one fault at a time into the real file.
func TestComposeRules(t *testing.T) {
	t.Parallel()
	raw := readCompose(t)
	for name, c := range map[string]struct{ old, new, problem string }{
		"one port published twice":      {`"127.0.0.1:8233:8080"`, `"127.0.0.1:8080:8080"`, "loopback and temporal-ui both publish 127.0.0.1:8080"},
		"the same port without address": {`"127.0.0.1:8233:8080"`, `"8233:8080"`, "temporal-ui publishes 8233:8080, which is not 127.0.0.1:PORT:PORT"},
		"published beyond this machine": {`"127.0.0.1:7233:7233"`, `"0.0.0.0:7233:7233"`, "temporal publishes 0.0.0.0:7233:7233, which is not 127.0.0.1:PORT:PORT"},
		"ports of a shared network":     {`stop_grace_period: 60s`, `ports: ["127.0.0.1:9999:8080"]`, "server publishes ports of a network that is another's"},
		"a network that is not there":   {`network_mode: "service:loopback"`, `network_mode: "service:worke"`, "worker uses the network of worke, which is no service"},
		"one container name twice":      {`image: temporalio/ui:2.52.0`, "image: temporalio/ui:2.52.0\n    container_name: worker", "worker and temporal-ui have the container name worker"},
		"a volume not declared":         {"- spool:/spool", "- spol:/spool", "uses the volume spol, which is not declared"},
		"a volume not used":             {"volumes:\n  spool:", "volumes:\n  cache:\n  spool:", "the volume cache is declared and not used"},
		"a file that is not there":      {"./deploy/compose/demo.sh:", "./deploy/compose/dmo.sh:", "demo mounts ./deploy/compose/dmo.sh, which does not exist"},
		"two mounts at one place":       {"/etc/perennial/demo.sh:ro", "/keys:ro", "demo mounts two volumes at /keys"},
		"a dependency not there":        {"migrate: {condition:", "migration: {condition:", "setup depends on migration, which is no service"},
		"a condition not there":         {"loopback: {condition: service_started}", "loopback: {condition: started}", `worker waits for loopback by "started", which is no condition`},
		"waits for ever":                {"loopback: {condition: service_started}", "loopback: {condition: service_healthy}", "worker waits for the health of loopback, which has no healthcheck"},
		"waits for the end of a server": {"loopback: {condition: service_started}", "loopback: {condition: service_completed_successfully}", "worker waits for the end of loopback, which is restarted"},
		"a circle":                      {"temporal-schema: {condition: service_completed_successfully}", "setup: {condition: service_completed_successfully}", "temporal waits for itself"},
		"only in a profile":             {`restart: "no"` + "\n    depends_on: {perennial-db", `restart: "no"` + "\n    profiles: [tools]\n    depends_on: {perennial-db", "worker depends on migrate, which has profiles that worker has not"},
		"a server that stays away":      {"<<: *perennial\n    restart: unless-stopped\n    entrypoint: [\"/usr/local/bin/worker\"]", "<<: *perennial\n    entrypoint: [\"/usr/local/bin/worker\"]", `worker has the restart policy ""`},
		"a server that is no server":    {"temporalio/server:1.31.2\n    restart: unless-stopped", "temporalio/server:1.31.2\n    restart: \"no\"", `temporal runs on, and has the restart policy "no"`},
		"a one-shot for ever":           {`restart: "no"` + "\n    command: [\"keys\"", "restart: unless-stopped\n    command: [\"keys\"", "waits for the end of keys, which is restarted"},
		"a tag that moves":              {"temporalio/ui:2.52.0", "temporalio/ui:latest", "temporal-ui runs temporalio/ui:latest, which is not a pinned release"},
		"a tag not given":               {"temporalio/ui:2.52.0", "temporalio/ui", "temporal-ui runs temporalio/ui, which is not a pinned release"},
		"a deprecated image":            {"temporalio/server:1.31.2", "temporalio/auto-setup:1.29.1", "temporal runs temporalio/auto-setup, which is deprecated"},
		"another release's tools":       {"temporalio/admin-tools:1.31.2", "temporalio/admin-tools:1.30.1", "temporal-schema is of release 1.30.1, temporal of 1.31.2"},
		"two builds under one name":     {"image: perennial-demo:dev", "image: perennial:dev", "build the image perennial:dev differently"},
		"a key that is misspelt":        {"services:\n", "sevices: {}\nservices:\n", "sevices is no key of a compose file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, raw, c.old)
			f, err := parseCompose([]byte(strings.Replace(raw, c.old, c.new, 1)))
			require.NoError(t, err)
			assert.Contains(t, strings.Join(f.problems(".."), "\n"), c.problem)
		})
	}
	_, err := parseCompose([]byte(strings.Replace(raw, "restart: unless-stopped", "restrat: unless-stopped", 1)))
	assert.ErrorContains(t, err, "restrat")
}
