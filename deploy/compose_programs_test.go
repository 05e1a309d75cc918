package deploy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// composeConfig returns the configuration as the worker reads it in compose.
func composeConfig(t *testing.T, f composeFile) *config.Config {
	t.Helper()
	var environ []string
	for k, v := range f.Services["worker"].Environment {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.LoadEnviron("compose/perennial.yaml", environ)
	require.NoError(t, err)
	return cfg
}

func TestComposeConfigurationLoads(t *testing.T) {
	t.Parallel()
	f := compose(t)
	cfg := composeConfig(t, f)
	assert.Contains(t, cfg.DatabaseURL, "perennial-db")
	worker, server := f.Services["worker"], f.Services["server"]
	assert.Contains(t, worker.Volumes, "keys:"+cfg.KeysDir)
	assert.Contains(t, worker.Volumes, "spool:"+cfg.Spool)
	assert.Greater(t, worker.StopGrace, cfg.Timing.WorkerStop)
	assert.Greater(t, server.StopGrace, wiring.DrainTimeout)
	// While they stop, they still store replies that arrive.
	for name, s := range map[string]service{"worker": worker, "server": server} {
		assert.Contains(t, s.DependsOn, "perennial-db", "%s must stop before its database", name)
		assert.Contains(t, s.DependsOn, "temporal", "%s must stop before Temporal", name)
	}
}

func TestComposeTemporal(t *testing.T) {
	t.Parallel()
	f := compose(t)
	temporal, schema, namespace := f.Services["temporal"], f.Services["temporal-schema"], f.Services["temporal-namespace"]
	assert.Equal(t, "temporal-db", temporal.Environment["POSTGRES_SEEDS"], "one outage must not take both")
	assert.Equal(t, temporal.Environment["POSTGRES_SEEDS"], schema.Environment["SQL_HOST"])
	assert.Equal(t, temporal.Environment["DB"], schema.Environment["SQL_PLUGIN"])
	assert.Equal(t, "512", temporal.Environment["NUM_HISTORY_SHARDS"], "it can never be changed later")
	retention, err := time.ParseDuration(namespace.Environment["RETENTION"])
	require.NoError(t, err)
	assert.Equal(t, 30*24*time.Hour, retention, "histories are kept for 30 days")
	assert.Equal(t, "service_completed_successfully", temporal.DependsOn["temporal-schema"])
	assert.Equal(t, "service_completed_successfully", f.Services["setup"].DependsOn["temporal-namespace"])
	assert.Equal(t, "service_completed_successfully", f.Services["setup"].DependsOn["migrate"], "setup writes into the database")
	assert.Equal(t, "service_completed_successfully", f.Services["worker"].DependsOn["setup"], "the first worker finds them bound")
}

// listeners returns the addresses at which the programs listen in their shared network.
func listeners(t *testing.T, f composeFile, cfg *config.Config) map[string]string {
	t.Helper()
	fake := f.Services["fakeprovider"].Command
	at := slices.Index(fake, "--listen")
	require.GreaterOrEqual(t, at, 0)
	return map[string]string{"the worker's listen": cfg.Listen, "the API": cfg.Server.Listen, "the server's health": cfg.Server.Health, "the fake provider": fake[at+1]}
}

// TestComposePorts compares the published ports with the listeners.
func TestComposePorts(t *testing.T) {
	t.Parallel()
	f := compose(t)
	by := map[string]string{} // the listener of each port
	for who, address := range listeners(t, f, composeConfig(t, f)) {
		host, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		assert.Empty(t, by[port], "%s listens on the port of another", who)
		assert.Equal(t, "0.0.0.0", host, "%s: nothing from outside the container reaches another address", who)
		by[port] = who
	}
	published := map[string]bool{}
	for _, p := range f.Services["loopback"].Ports {
		m := publishedPort.FindStringSubmatch(p)
		require.NotNil(t, m, p)
		assert.Contains(t, by, m[2], "nothing listens on what %s publishes", p)
		assert.Equal(t, "127.0.0.1:"+m[2], m[1], "a URL must be the same inside and outside")
		published[m[2]] = true
	}
	for port, who := range by {
		assert.True(t, published[port], "%s is not published", who)
	}
	for name, s := range f.Services {
		if name != "loopback" && s.NetworkMode != "" {
			assert.Equal(t, "service:loopback", s.NetworkMode, name)
		}
	}
	comment, _, _ := strings.Cut(readCompose(t), "\nx-")
	for name, s := range f.Services {
		for _, p := range s.Ports {
			address, _, _ := strings.Cut(p, ":"+publishedPort.FindStringSubmatch(p)[2])
			assert.Contains(t, comment, address, "the comment at the top does not name what %s publishes", name)
		}
	}
}

// TestComposeLinks: a browser on this machine can follow a connect link.
func TestComposeLinks(t *testing.T) {
	t.Parallel()
	f := compose(t)
	cfg := composeConfig(t, f)
	raw, err := os.ReadFile("compose/clients.json")
	require.NoError(t, err)
	var clients map[string]fakeprovider.Client
	require.NoError(t, json.Unmarshal(raw, &clients))
	provider, err := fakeprovider.New(fakeprovider.Config{Clients: clients})
	require.NoError(t, err)

	on := listeners(t, f, cfg)
	local := func(raw, who string) *url.URL {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		assert.Equal(t, "127.0.0.1", u.Hostname(), "%s: cookies and tokens without TLS are for this machine only", raw)
		assert.True(t, strings.HasSuffix(on[who], ":"+u.Port()), "%s is not the address of %s, %s", raw, who, on[who])
		return u
	}
	local(cfg.Connect.BaseURL, "the API")
	assert.NotEmpty(t, cfg.Connect.Product)
	assert.NotEmpty(t, cfg.Connect.ReturnURLs)
	redirects := map[string][]string{}
	for _, app := range cfg.Apps {
		redirect := cfg.Connect.BaseURL + "/connect/callback/" + app.Name
		redirects[app.ClientID] = append(redirects[app.ClientID], redirect)
		authorize := local(app.Provider.AuthURL, "the fake provider")
		local(app.Provider.TokenURL, "the fake provider")
		local(app.Provider.RevokeURL, "the fake provider")

		authorize.RawQuery = url.Values{"client_id": {app.ClientID}, "redirect_uri": {redirect}, "response_type": {"code"}}.Encode()
		page := httptest.NewRecorder()
		provider.ServeHTTP(page, httptest.NewRequest(http.MethodGet, authorize.String(), nil))
		assert.Equal(t, http.StatusOK, page.Code, "the fake provider does not know the redirect URI %s: %s", redirect, page.Body)
		var secrets []string
		for _, secret := range app.ClientSecrets {
			secrets = append(secrets, secret.Reveal())
		}
		assert.Subset(t, clients[app.ClientID].Secrets, secrets, app.Name)
		assert.Equal(t, app.Provider.GraceWindow, time.Duration(clients[app.ClientID].Knobs.GraceSeconds*float64(time.Second)), app.Name)
	}
	for id, client := range clients {
		assert.ElementsMatch(t, redirects[id], client.RedirectURIs, "the redirect URIs of %s", id)
	}
}

// TestCommandsExist asks the programs, built as the Dockerfile builds them, for each
// command that the files run.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	programs := dockerPrograms(t)
	t.Run("compose", func(t *testing.T) { composeCommands(t, programs) })
	t.Run("kubernetes", func(t *testing.T) { kubernetesCommands(t, programs) })
}

func composeCommands(t *testing.T, programs map[string]string) {
	f := compose(t)
	commands := map[string][]string{} // of the program perennial
	for name, s := range f.Services {
		if test := s.Healthcheck; test != nil && len(test.Test) > 1 && test.Test[1] == "/usr/local/bin/perennial" {
			commands[name+"'s healthcheck"] = test.Test[2:]
		}
		if s.Build == nil {
			continue
		}
		program, own := "", false
		if len(s.Entrypoint) > 0 {
			program, own = strings.CutPrefix(s.Entrypoint[0], "/usr/local/bin/")
		}
		switch {
		case len(s.Entrypoint) == 0:
			commands[name] = s.Command
		case own:
			require.Contains(t, programs, program, name)
			help, _ := exec.Command(programs[program], "--help").CombinedOutput() // whatever its exit code
			for _, word := range s.Command {
				if flag, ok := strings.CutPrefix(word, "--"); ok {
					assert.Contains(t, string(help), "-"+flag, name)
				}
			}
		}
	}
	script, err := os.ReadFile("compose/demo.sh")
	require.NoError(t, err)
	for i, line := range regexp.MustCompile(`(?m)^\s*perennial (.+)$`).FindAllStringSubmatch(string(script), -1) {
		commands[fmt.Sprintf("command %d of demo.sh", i+1)] = strings.Fields(line[1])
	}
	for _, want := range []string{"keys", "migrate", "setup", "worker's healthcheck", "server's healthcheck", "command 2 of demo.sh"} {
		require.Contains(t, commands, want)
	}
	for name, words := range commands {
		commandExists(t, programs["perennial"], name, words)
	}
}

// commandExists asks the program perennial for the help of a command, which must have
// its flags. name is for messages.
func commandExists(t *testing.T, program, name string, words []string) {
	t.Helper()
	require.NotEmpty(t, words, name)
	out, err := exec.Command(program, append(slices.Clone(words), "--help")...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
	path := "perennial"
	for _, word := range words {
		if strings.HasPrefix(word, "-") {
			break
		}
		path += " " + word
	}
	// An unknown word below a known one shows the known one's help.
	assert.Regexp(t, `(?m)^  `+regexp.QuoteMeta(path)+`( |$)`, string(out), name)
	for _, word := range words {
		if strings.HasPrefix(word, "--") {
			assert.Contains(t, string(out), word+" ", name)
		}
	}
}

// dockerPrograms builds what the Dockerfile builds, and returns the paths by name.
func dockerPrograms(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	dir, programs := t.TempDir(), map[string]string{}
	for _, m := range regexp.MustCompile(`go build .*-o /out/(\S+) \./(\S+)`).FindAllStringSubmatch(string(raw), -1) {
		assert.Contains(t, m[0], `-ldflags "$flags"`, "%s would not know its commit", m[1])
		programs[m[1]] = filepath.Join(dir, m[1])
		out, err := exec.Command("go", "build", "-o", programs[m[1]], "../"+m[2]).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	require.Contains(t, programs, "perennial")
	return programs
}

// TestCommitReachesTheImage: the Dockerfile passes each build argument of the file to a
// variable of the programs.
func TestCommitReachesTheImage(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	for name, s := range compose(t).Services {
		if s.Build == nil {
			continue
		}
		require.Len(t, s.Build.Args, 2, name)
		for arg, value := range s.Build.Args {
			assert.Equal(t, "${"+arg+":-}", value, name)
			assert.Regexp(t, `(?m)^ARG `+arg+`$`, string(raw))
			assert.Regexp(t, `-X github\.com/perennial-oauth/perennial/internal/version\.\w+=\$`+arg+`[ "]`, string(raw))
			assert.Contains(t, string(makefile), arg+`="$$(`)
		}
	}
}

// TestScriptsParse: the shell can parse the mounted scripts.
func TestScriptsParse(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("compose/*.sh")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		out, err := exec.Command("sh", "-n", script).CombinedOutput()
		assert.NoError(t, err, "%s: %s", script, out)
	}
}
