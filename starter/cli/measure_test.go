package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// trial is a fake provider with a description of it and a person at a browser.
type trial struct {
	fake     *fakeprovider.Server
	file     string
	redirect string
	base     []string // arguments of every command
}

func newTrial(t *testing.T, knobs fakeprovider.Knobs) trial {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	tr := trial{redirect: "http://" + free.Addr().String() + "/back", file: filepath.Join(t.TempDir(), "acme.yaml")}
	tr.fake, err = fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{"client": {Secrets: []string{"planted-client-secret"}, RedirectURIs: []string{tr.redirect, "https://app.example/back"}, Knobs: knobs}}})
	require.NoError(t, err)
	server := httptest.NewServer(tr.fake)
	t.Cleanup(server.Close)
	require.NoError(t, os.WriteFile(tr.file, fmt.Appendf(nil, `
title: Acme
auth_url: %[1]s/authorize
token_url: %[1]s/token
revoke_url: %[1]s/revoke
introspect_url: %[1]s/introspect
auth_style: header
replay_class: unknown
replay_source: not documented
rotation: never
`, server.URL), 0o600))
	tr.base = []string{tr.file, "--client-id", "client", "--client-secret-env", "SECRET", "--redirect-uri", tr.redirect, "--scopes", "read", "--config", "none.yaml"}
	return tr
}

// run runs a command while a person follows each of its links.
func (tr trial) run(t *testing.T, in io.Reader, agree func(link string), args ...string) (out, said string, err error) {
	t.Helper()
	links, writer := io.Pipe()
	var stdout, stderr strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(links)
		for lines.Scan() {
			stderr.WriteString(lines.Text() + "\n")
			if link := strings.TrimSpace(lines.Text()); strings.HasPrefix(link, "http") {
				go agree(link)
			}
		}
	}()
	err = Run(context.Background(), append([]string{"provider", args[0]}, append(tr.base, args[1:]...)...), []string{"SECRET=planted-client-secret"}, in, &stdout, writer)
	require.NoError(t, writer.Close())
	<-done
	return stdout.String(), stderr.String(), err
}

// agrees follows a link and agrees; the redirect leads to the command's own listener. It
// returns the address to which a browser would come.
func agrees(link string) string {
	client := &http.Client{CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if req.URL.Hostname() == "app.example" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := client.PostForm(link, url.Values{"account": {"spare"}, "answer": {"allow"}})
	if err != nil {
		return ""
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Location")
}

func follow(link string) { agrees(link) }

// TestMeasureCommand: the command gets its consents from a browser, measures, prints lines
// that are a description, compares them, revokes the grants, and shows no secret.
func TestMeasureCommand(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, fakeprovider.Knobs{Rotate: true, ReuseRevokes: true})
	out, said, err := tr.run(t, nil, follow, "measure", "--wait", "2s", "--against", tr.file)
	require.NoError(t, err, said)
	var lines provider.Description
	require.NoError(t, yaml.Unmarshal([]byte(out), &lines), out)
	assert.Equal(t, "always", lines.Rotation)
	assert.Equal(t, "reuse_revokes", lines.ReplayClass)
	assert.True(t, *lines.ChecksClient)
	assert.False(t, *lines.RefreshKills, "by the introspection")
	assert.Equal(t, "measured", lines.Evidence[0].By)
	assert.Contains(t, out, "#     It decides what happens after a refresh whose reply was lost")
	assert.Contains(t, out, "# ~ replay_class: reuse_revokes, was unknown\n")
	assert.Contains(t, out, "# ~ rotation: always, was never\n")
	assert.Contains(t, out, "# lifetime_unit: not measured: the access token is said to live for 30m, and the longest wait is 2s\n")
	assert.Contains(t, said, "EXPERIMENT")
	for _, secret := range []string{"planted", "frt_", "fat_", "fac_"} {
		assert.NotContains(t, out+said, secret)
	}
	for _, g := range tr.fake.Oracle().Grants {
		assert.True(t, g.Revoked, "the grant is left")
	}

	out, _, err = tr.run(t, nil, follow, "measure", "--wait", "2s", "--json")
	require.NoError(t, err)
	var shown shownMeasured
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	assert.Equal(t, "reuse_revokes", shown.Lines["replay_class"])
	assert.Equal(t, 3, shown.Consents)

	requests := tr.fake.Oracle().TokenRequests
	out, _, err = tr.run(t, nil, follow, "measure", "--plan", "--json")
	require.NoError(t, err)
	var plan []measure.Step
	require.NoError(t, json.Unmarshal([]byte(out), &plan))
	assert.Equal(t, "dead-token", plan[0].Name)
	assert.Equal(t, requests, tr.fake.Oracle().TokenRequests, "a plan asks nothing")
}

// TestMeasureRefused: without a consent the experiments say that they were not made.
func TestMeasureRefused(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, fakeprovider.Knobs{AuthError: "access_denied"})
	refuse := func(link string) {
		if resp, err := http.Get(link); err == nil {
			_ = resp.Body.Close()
		}
	}
	out, _, err := tr.run(t, nil, refuse, "measure")
	require.NoError(t, err)
	assert.Contains(t, out, `# refresh_within: not measured: the consent was not given: the provider answers the link with "access_denied"`)
	assert.Contains(t, out, `# replay_class: not measured: the consent was not given`)
	assert.Contains(t, out, "# spellings.revoked: understood")
	assert.Contains(t, out, "facts:\n      - refusal\n      - wrong_client\n")
}

// TestTryCommand: one exchange, and one refresh, are explained; the code comes to this
// machine, or the address is pasted.
func TestTryCommand(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, fakeprovider.Knobs{Rotate: true})
	forged := func(link string) { // somebody else's answer ends nothing
		resp, err := http.Get(tr.redirect + "?code=x&state=other")
		if assert.NoError(t, err) {
			assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
			assert.NoError(t, resp.Body.Close())
		}
		follow(link)
	}
	out, said, err := tr.run(t, nil, forged, "try", "--refresh")
	require.NoError(t, err, said)
	assert.Equal(t, 2, strings.Count(out, "  the refresh token\n"), out)
	assert.Equal(t, 2, strings.Count(out, "life of the access token: 30m, in units of 1s"))
	assert.Contains(t, said, "The grant was revoked.")
	assert.Equal(t, 2, tr.fake.Oracle().TokenRequests)
	for _, secret := range []string{"planted", "frt_", "fat_", "fac_"} {
		assert.NotContains(t, out+said, secret)
	}

	in, paste := io.Pipe()
	pasted := func(link string) { _, _ = io.WriteString(paste, agrees(link)+"\n") }
	out, said, err = tr.run(t, in, pasted, "try", "--redirect-uri", "https://app.example/back")
	require.NoError(t, err, said)
	assert.Contains(t, out, "Outcome: refreshed\n")

	for says, address := range map[string]string{
		"its state is another one": "https://app.example/back?code=x&state=other",
		"no address was pasted":    "",
	} {
		_, _, err = tr.run(t, strings.NewReader(address), func(string) {}, "try", "--redirect-uri", "https://app.example/back")
		require.ErrorContains(t, err, says)
	}
	before := tr.fake.Oracle().TokenRequests
	out, _, err = tr.run(t, strings.NewReader("a-code-that-is-none"), nil, "try", "--code", "-")
	require.NoError(t, err)
	assert.Contains(t, out, "Outcome: revoked (invalid_grant), the fault of: grant\nBecause: the words that mean invalid_grant at every provider\n")
	assert.Equal(t, before+1, tr.fake.Oracle().TokenRequests)
}

// TestTryCredentials: with a grant that needs no consent, one request is made with the
// credentials and explained; they are not shown, and nothing is revoked.
func TestTryCredentials(t *testing.T) {
	t.Parallel()
	var forms []url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		forms = append(forms, r.PostForm)
		_, _ = io.WriteString(w, `{"access_token":"planted-access-token","expires_in":60,"for":"planted-customer-id, planted-customer-secret"}`)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "acme.yaml")
	require.NoError(t, os.WriteFile(file, []byte("title: Acme\ntoken_url: "+server.URL+"/t\nauth_style: params\ngrant: client_credentials\ncredentials: [client_id, client_secret]\n"), 0o600))
	code, out, err := perennialRun(nil, `{"client_id":"planted-customer-id","client_secret":"planted-customer-secret"}`, "provider", "try", file, "--credentials", "-", "--config", "none.yaml")
	require.NoError(t, err)
	assert.Zero(t, code)
	assert.Contains(t, out, "life of the access token: 1m, in units of 1s")
	assert.Contains(t, out, "Outcome: refreshed\n")
	assert.NotContains(t, out, "planted-access-token")
	assert.NotContains(t, out, "planted-customer-secret")
	require.Len(t, forms, 1)
	assert.Equal(t, "planted-customer-id", forms[0].Get("client_id"))
}

// TestTrySaved: a saved reply is explained without a client, a network or a configuration.
func TestTrySaved(t *testing.T) {
	t.Parallel()
	code, out, err := perennialRun(nil, "HTTP/2 200\n\n"+`{"ok":false,"error":"invalid_refresh_token"}`, "provider", "try", "slack", "--reply", "-", "--config", "none.yaml")
	require.NoError(t, err)
	assert.Zero(t, code)
	assert.Contains(t, out, "Outcome: revoked (invalid_refresh_token), the fault of: grant\n")
	code, out, err = perennialRun(nil, `{"error":"invalid_grant"}`, "provider", "try", "slack", "--reply", "-", "--status", "400", "--json", "--config", "none.yaml")
	require.NoError(t, err)
	assert.Zero(t, code)
	var all []provider.Explanation
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	assert.Equal(t, 400, all[0].HTTPStatus)
}

// TestClientFlags: what is missing is said.
func TestClientFlags(t *testing.T) {
	t.Parallel()
	file := acme(t)
	for says, args := range map[string][]string{
		"say --client-id, and --client-secret-env VARIABLE": {"try", file},
		"the environment variable NONE is not set":          {"try", file, "--client-id", "x", "--client-secret-env", "NONE"},
		"auth_url is needed to ask for consent":             {"try", file, "--client-id", "x"},
		"give the account's host":                           {"measure", "shopify", "--client-id", "x"},
		"only grants with a refresh token are measured":     {"measure", "github-app", "--client-id", "x"},
		"the customer's credentials as JSON are needed":     {"try", "github-app", "--client-id", "x"},
		"write a file with its keys and a token_url":        {"measure", "generic", "--client-id", "x"},
		"the longest wait must be a second or more":         {"measure", file, "--client-id", "x", "--wait", "1ms"},
		"no such file": {"try", file, "--reply", file + "x"},
		"there is no provider \"nobody\" in the catalogue": {"measure", "nobody"},
		"perennial provider try --help":                    {"try"},
	} {
		code, _, err := perennialRun(nil, "", append(append([]string{"provider"}, args...), "--config", "none.yaml")...)
		assert.NotZero(t, code)
		assert.ErrorContains(t, err, says, "%v", args)
	}
}

// TestShownMeasuredIsWhole: what is measured all arrives.
func TestShownMeasuredIsWhole(t *testing.T) {
	t.Parallel()
	e := fill.Of[provider.Entry]()
	shown, err := showMeasured(fill.Of[measure.Result](), &e)
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(shown))
}
