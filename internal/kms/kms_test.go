package kms_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/kms"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/require"
)

const token = "hvs.PLANTED"

// fakeVault answers like Vault's transit engine for an ordinary key: it checks the
// associated_data and ignores the context. It stores plaintexts instead of encrypting
// them.
type fakeVault struct {
	mu     sync.Mutex
	stored map[string][2]string // by ciphertext: plaintext and associated data
	paths  []string
}

func (v *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.paths = append(v.paths, r.URL.Path)
	if r.Header.Get("X-Vault-Token") != token {
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	}
	var req struct {
		Plaintext, Ciphertext string
		AssociatedData        string `json:"associated_data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, `{"errors":["bad request"]}`, http.StatusBadRequest)
		return
	}
	data := map[string]string{}
	if strings.Contains(r.URL.Path, "/encrypt/") {
		sum := sha256.Sum256([]byte(req.Plaintext + "|" + req.AssociatedData))
		text := "vault:v1:" + base64.StdEncoding.EncodeToString(sum[:])
		v.stored[text] = [2]string{req.Plaintext, req.AssociatedData}
		data["ciphertext"] = text
	} else {
		was, ok := v.stored[req.Ciphertext]
		if !ok || was[1] != req.AssociatedData {
			http.Error(w, `{"errors":["cipher: message authentication failed"]}`, http.StatusBadRequest)
			return
		}
		data["plaintext"] = was[0]
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data}) // the client is the test's own
}

// setup starts a Vault whose certificate is trusted only through VAULT_CACERT.
func setup(t *testing.T) (*fakeVault, string) {
	t.Helper()
	for _, name := range []string{"VAULT_ADDR", "VAULT_AGENT_ADDR", "VAULT_NAMESPACE", "VAULT_SKIP_VERIFY"} {
		t.Setenv(name, "")
	}
	v := &fakeVault{stored: map[string][2]string{}}
	server := httptest.NewTLSServer(v)
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	t.Setenv("VAULT_CACERT", ca)
	t.Setenv("VAULT_TOKEN", token)
	return v, "hcvault://" + server.Listener.Addr().String() + "/transit/keys/perennial"
}

func TestVaultWrapsKeysets(t *testing.T) {
	v, uri := setup(t)
	kek, err := kms.KEK(t.Context(), uri)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, seal.Generate(dir, kek, false))
	require.Equal(t, []string{"/v1/transit/encrypt/perennial", "/v1/transit/encrypt/perennial"}, v.paths)

	k, err := seal.Load(dir, kek, false)
	require.NoError(t, err)
	b := seal.Binding{Tenant: "acme", Connection: "c1", Field: seal.FieldRefreshToken, Generation: 1}
	out, err := k.Seal(b, perennial.NewSecret("rt"))
	require.NoError(t, err)
	require.NoError(t, seal.Rotate(dir, kek, false))
	k, err = seal.Load(dir, kek, false)
	require.NoError(t, err)
	got, err := k.Open(b, out)
	require.NoError(t, err)
	require.Equal(t, "rt", got.Reveal())
}

// TestVaultBindsTheFileName fails if the associated data is sent as "context".
func TestVaultBindsTheFileName(t *testing.T) {
	_, uri := setup(t)
	kek, err := kms.KEK(t.Context(), uri)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, seal.Generate(dir, kek, false))
	require.NoError(t, os.Rename(filepath.Join(dir, "refresh.keyset.json"), filepath.Join(dir, "access.keyset.json")))
	_, err = seal.Load(dir, kek, false)
	require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
}

func TestVaultRefusals(t *testing.T) {
	t.Run("no token", func(t *testing.T) {
		_, uri := setup(t)
		t.Setenv("VAULT_TOKEN", "")
		_, err := kms.KEK(t.Context(), uri)
		invalid(t, err, "set VAULT_TOKEN")
	})
	t.Run("a token that may not", func(t *testing.T) {
		_, uri := setup(t)
		t.Setenv("VAULT_TOKEN", "hvs.other")
		kek, err := kms.KEK(t.Context(), uri)
		require.NoError(t, err)
		_, err = kek.Encrypt([]byte("keyset"), nil)
		require.ErrorContains(t, err, "permission denied")
		require.NotContains(t, err.Error(), "hvs.other")
	})
	t.Run("a certificate of nobody's", func(t *testing.T) {
		v, uri := setup(t)
		t.Setenv("VAULT_CACERT", "")
		t.Setenv("VAULT_MAX_RETRIES", "0")
		kek, err := kms.KEK(t.Context(), uri)
		require.NoError(t, err)
		_, err = kek.Encrypt([]byte("keyset"), nil)
		require.ErrorContains(t, err, "certificate")
		require.Empty(t, v.paths, "nothing was sent")
	})
	t.Run("a certificate file that is not there", func(t *testing.T) {
		_, uri := setup(t)
		t.Setenv("VAULT_CACERT", filepath.Join(t.TempDir(), "none.pem"))
		_, err := kms.KEK(t.Context(), uri)
		invalid(t, err, "none.pem")
	})
}

func TestUnusableURIs(t *testing.T) {
	t.Setenv("VAULT_TOKEN", token)
	for _, tc := range []struct{ uri, says string }{
		{"", "use aws-kms://, gcp-kms:// or hcvault://"},
		{"vault://127.0.0.1/transit/keys/k", "use aws-kms://, gcp-kms:// or hcvault://"},
		{"aws-kms", "aws-kms"},
		{"aws-kms://key", "aws-kms://key"},
		{"hcvault://", "hcvault://HOST:PORT/MOUNT/keys/NAME"},
		{"hcvault:///transit/keys/k", "hcvault://HOST:PORT/MOUNT/keys/NAME"},
		{"hcvault://%zz/transit/keys/k", "hcvault://HOST:PORT/MOUNT/keys/NAME"},
		{"hcvault://127.0.0.1:1/transit/k", "cannot be used"},
	} {
		t.Run(tc.uri, func(t *testing.T) {
			_, err := kms.KEK(t.Context(), tc.uri)
			invalid(t, err, tc.says)
		})
	}
}

func TestAWSKeyNeedsNoRequest(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := kms.KEK(t.Context(), "aws-kms://arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000")
	require.NoError(t, err)
}

func invalid(t *testing.T, err error, says string) {
	t.Helper()
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), err)
	require.ErrorContains(t, err, says)
}
