package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

// TestCodec: the endpoint and its authorization come from the file or from variables.
func TestCodec(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auth")
	require.NoError(t, os.WriteFile(path, []byte("Bearer "+planted+"\n"), 0o600))
	const endpoint = "temporal_codec_endpoint: https://codec.example/x/\n"
	for name, c := range map[string]struct {
		file    string
		environ []string
		auth    string
	}{
		"no authorization": {endpoint, nil, ""},
		"a variable":       {endpoint + "temporal_codec_auth_env: CODEC_AUTH\n", []string{"CODEC_AUTH=Bearer " + planted}, "Bearer " + planted},
		"a file":           {endpoint + "temporal_codec_auth_file: " + path + "\n", nil, "Bearer " + planted},
		"all by variables": {"", []string{"PERENNIAL_TEMPORAL_CODEC_ENDPOINT=https://codec.example/x", "PERENNIAL_TEMPORAL_CODEC_AUTH_FILE=" + path}, "Bearer " + planted},
		"our own prefix":   {endpoint + "temporal_codec_auth_env: PERENNIAL_CODEC_AUTH\n", []string{"PERENNIAL_CODEC_AUTH=x"}, "x"},
	} {
		got, err := parse("p.yaml", []byte(c.file+good), append(c.environ, goodEnv...))
		require.NoError(t, err, name)
		require.Equal(t, "https://codec.example/x", got.Codec.Endpoint, name)
		require.Equal(t, c.auth, got.Codec.Auth.Reveal(), name)
		require.NoError(t, got.Codec.NeedAuth(), name)
	}
}

// TestWrongCodec: each mistake is one line that says what to do, without the secret.
func TestWrongCodec(t *testing.T) {
	t.Parallel()
	const endpoint = "temporal_codec_endpoint: https://codec.example\n"
	const form = "p.yaml:1: temporal_codec_endpoint must be the URL of a codec server, for example https://codec.example.com, without a user, a query or a fragment"
	for file, want := range map[string]string{
		"temporal_codec_endpoint: codec.example\n":                               form,
		"temporal_codec_endpoint: ftp://codec.example\n":                         form,
		"temporal_codec_endpoint: https://u:" + planted + "@codec.example\n":     form,
		"temporal_codec_endpoint: https://codec.example?key=" + planted + "\n":   form,
		"temporal_codec_auth_env: CODEC_AUTH\n":                                  "p.yaml: temporal_codec_endpoint (or PERENNIAL_TEMPORAL_CODEC_ENDPOINT) is needed: an authorization for it is configured",
		endpoint + "temporal_codec_auth_env: " + planted + "\n":                  "p.yaml:2: temporal_codec_auth_env " + notAName,
		endpoint + "temporal_codec_auth_env: NOT_SET\n":                          "p.yaml:2: temporal_codec_auth_env names the variable NOT_SET, which is not set",
		endpoint + "temporal_codec_auth_env: TWO_LINES\n":                        "p.yaml:2: temporal_codec_auth_env names a value that no HTTP header may hold: give one line of plain text, for example Bearer and a token",
		endpoint + "temporal_codec_auth_file: /" + planted + "\n":                "p.yaml:2: temporal_codec_auth_file names a file that cannot be read: no such file or directory",
		endpoint + "temporal_codec_auth_env: A_B\ntemporal_codec_auth_file: x\n": "p.yaml:3: temporal_codec_auth_file and temporal_codec_auth_env are both given: keep one",
	} {
		_, err := parse("p.yaml", []byte(file+good), append([]string{"TWO_LINES=" + planted + "\nX-Other: 1"}, goodEnv...))
		require.EqualError(t, err, want, file)
	}
}

// TestCodecAuthOptional: a command that never asks Temporal needs no authorization; one
// that does gets the problem when it dials.
func TestCodecAuthOptional(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "perennial.yaml")
	require.NoError(t, os.WriteFile(path, []byte("temporal_codec_endpoint: https://codec.example\ntemporal_codec_auth_env: CODEC_AUTH\n"+good), 0o600))
	c, err := LoadWithoutSecrets(path, nil)
	require.NoError(t, err)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(c.Codec.NeedAuth()))
	require.ErrorContains(t, c.Codec.NeedAuth(), "the variable CODEC_AUTH, which is not set")
	_, err = LoadEnviron(path, goodEnv)
	require.ErrorContains(t, err, "CODEC_AUTH")
}
