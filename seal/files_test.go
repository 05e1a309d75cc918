package seal_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func newKEK(t *testing.T) tink.AEAD {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	kek, err := aead.New(handle)
	require.NoError(t, err)
	return kek
}

type brokenKEK struct{}

func (brokenKEK) Encrypt(_, _ []byte) ([]byte, error) { return nil, errKMS }
func (brokenKEK) Decrypt(_, _ []byte) ([]byte, error) { return nil, errKMS }

// failingKEK encrypts so many times and then fails.
type failingKEK struct {
	tink.AEAD
	left int
}

func (k *failingKEK) Encrypt(plain, ad []byte) ([]byte, error) {
	if k.left--; k.left < 0 {
		return nil, errKMS
	}
	return k.AEAD.Encrypt(plain, ad)
}

func accessFile(dir string) string  { return filepath.Join(dir, "access.keyset.json") }
func refreshFile(dir string) string { return filepath.Join(dir, "refresh.keyset.json") }

func TestGeneratedKeysLoad(t *testing.T) {
	t.Parallel()
	for name, kek := range map[string]tink.AEAD{"plaintext": nil, "wrapped": newKEK(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "a", "keys")
			require.NoError(t, seal.Generate(dir, kek, kek == nil))
			requireMode(t, dir, 0o700)
			requireMode(t, accessFile(dir), 0o600)
			requireMode(t, refreshFile(dir), 0o600)
			require.Len(t, names(t, dir), 2, "nothing temporary is left")

			first, err := seal.Load(dir, kek, kek == nil)
			require.NoError(t, err)
			second, err := seal.Load(dir, kek, kek == nil)
			require.NoError(t, err)
			for _, field := range seal.Fields {
				got, err := second.Open(binding(field), sealed(t, first, binding(field)))
				require.NoError(t, err)
				require.Equal(t, planted, got.Reveal())
			}
		})
	}
}

func TestPlaintextNeedsToBeAllowed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	invalid(t, seal.Generate(dir, nil, false), "wrap them with a KMS")
	require.NoDirExists(t, dir)
	require.NoError(t, seal.Generate(dir, nil, true))
	_, err := seal.Load(dir, nil, false)
	invalid(t, err, "wrap them with a KMS")
	invalid(t, seal.Rotate(dir, nil, false), "wrap them with a KMS")
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		mode fs.FileMode
		ok   bool
	}{{0o600, true}, {0o400, true}, {0o640, false}, {0o604, false}, {0o620, false}, {0o602, false}, {0o644, false}, {0o777, false}} {
		t.Run(fmt.Sprintf("%04o", tc.mode), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, seal.Generate(dir, nil, true))
			require.NoError(t, os.Chmod(refreshFile(dir), tc.mode))
			_, err := seal.Load(dir, nil, true)
			if tc.ok {
				require.NoError(t, err)
				return
			}
			invalid(t, err, fmt.Sprintf("(mode %04o): run `chmod 600 %s`", tc.mode, refreshFile(dir)))
		})
	}
	t.Run("wrapped files may be read by others", func(t *testing.T) {
		t.Parallel()
		dir, kek := t.TempDir(), newKEK(t)
		require.NoError(t, seal.Generate(dir, kek, false))
		require.NoError(t, os.Chmod(refreshFile(dir), 0o644))
		_, err := seal.Load(dir, kek, false)
		require.NoError(t, err)
	})
}

// TestDirectoryOfKeys: in a folder where others could put keys, none are created, read
// or rotated.
func TestDirectoryOfKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, 0o777))
	invalid(t, seal.Generate(dir, nil, true), "chmod 700 "+dir)
	require.Empty(t, names(t, dir))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, seal.Generate(dir, nil, true))
	_, err := seal.Load(dir, nil, true)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = seal.Load(dir, nil, true)
	invalid(t, err, "chmod 700 "+dir)
	invalid(t, seal.Rotate(dir, nil, true), "chmod 700 "+dir)

	kek, wrapped := newKEK(t), t.TempDir()
	require.NoError(t, seal.Generate(wrapped, kek, false))
	require.NoError(t, os.Chmod(refreshFile(wrapped), 0o646))
	_, err = seal.Load(wrapped, kek, false)
	invalid(t, err, "can be written by others")
}

func TestGenerateNeverOverwrites(t *testing.T) {
	t.Parallel()
	for _, path := range []func(string) string{accessFile, refreshFile} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(path(dir), []byte("precious"), 0o600))
		err := seal.Generate(dir, nil, true)
		require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
		raw, err := os.ReadFile(path(dir))
		require.NoError(t, err)
		require.Equal(t, "precious", string(raw))
		require.Len(t, names(t, dir), 1)
	}
}

// TestConcurrentGenerate: of many, one creates the keys, and its keys stay.
func TestConcurrentGenerate(t *testing.T) {
	t.Parallel()
	for range 20 {
		dir := t.TempDir()
		errs := make([]error, 8)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() { errs[i] = seal.Generate(dir, nil, true) })
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), err)
		}
		require.Equal(t, 1, won)
		require.Len(t, names(t, dir), 2)
	}
}

func TestSwappedKeysets(t *testing.T) {
	t.Parallel()
	swap := func(dir string) {
		require.NoError(t, os.Rename(accessFile(dir), dir+"/x"))
		require.NoError(t, os.Rename(refreshFile(dir), accessFile(dir)))
		require.NoError(t, os.Rename(dir+"/x", refreshFile(dir)))
	}
	t.Run("plaintext: what was sealed does not open", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, seal.Generate(dir, nil, true))
		k, err := seal.Load(dir, nil, true)
		require.NoError(t, err)
		out := sealed(t, k, binding(seal.FieldRefreshToken))
		swap(dir)
		k, err = seal.Load(dir, nil, true)
		require.NoError(t, err)
		got, err := k.Open(binding(seal.FieldRefreshToken), out)
		refused(t, got, err)
	})
	t.Run("wrapped: they do not even load", func(t *testing.T) {
		t.Parallel()
		dir, kek := t.TempDir(), newKEK(t)
		require.NoError(t, seal.Generate(dir, kek, false))
		swap(dir)
		_, err := seal.Load(dir, kek, false)
		require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
	})
}

func TestReaderOfAccessTokensAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, seal.Generate(dir, nil, true))
	whole, err := seal.Load(dir, nil, true)
	require.NoError(t, err)
	require.NoError(t, os.Remove(refreshFile(dir)))
	reader, err := seal.Load(dir, nil, true)
	require.NoError(t, err)
	require.True(t, reader.CanOpen(seal.FieldAccessToken))
	require.False(t, reader.CanOpen(seal.FieldRefreshToken))

	got, err := reader.Open(binding(seal.FieldAccessToken), sealed(t, whole, binding(seal.FieldAccessToken)))
	require.NoError(t, err)
	require.Equal(t, planted, got.Reveal())
	got, err = reader.Open(binding(seal.FieldRefreshToken), sealed(t, whole, binding(seal.FieldRefreshToken)))
	refused(t, got, err)
	require.ErrorContains(t, err, "no refresh_token keyset")
	_, err = reader.Seal(binding(seal.FieldRefreshToken), perennial.NewSecret(planted))
	refused(t, perennial.Secret{}, err)
	_, err = reader.PrimaryKeyID(seal.FieldRefreshToken)
	refused(t, perennial.Secret{}, err)

	require.NoError(t, os.Remove(accessFile(dir)))
	_, err = seal.Load(dir, nil, true)
	invalid(t, err, "perennial keys new")
}

func TestUnusableKeysets(t *testing.T) {
	t.Parallel()
	kek := newKEK(t)
	plain := func(dir string) error { return seal.Generate(dir, nil, true) }
	wrapped := func(dir string) error { return seal.Generate(dir, kek, false) }
	torn := func(dir string) error {
		return os.WriteFile(accessFile(dir), []byte(`{"key": "`+planted), 0o600)
	}
	for _, tc := range []struct {
		name string
		keys func(dir string) error
		kek  tink.AEAD
	}{
		{"plaintext, read with a KMS", plain, kek},
		{"wrapped, read as plaintext", wrapped, nil},
		{"wrapped by another key", wrapped, newKEK(t)},
		{"the KMS is away", wrapped, brokenKEK{}},
		{"half a file, whose content is not shown", torn, nil},
		{"half a file, read with a KMS", torn, kek},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const says = "access.keyset.json is not a keyset that opens with these settings"
			dir := t.TempDir()
			require.NoError(t, tc.keys(dir))
			before := names(t, dir)
			_, err := seal.Load(dir, tc.kek, true)
			refused(t, perennial.Secret{}, err)
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, seal.Rotate(dir, tc.kek, true), says)
			require.Equal(t, before, names(t, dir), "no lock and no half file stays")
		})
	}
	for _, calls := range []int{0, 1} { // the KMS fails before the first keyset, and before the second
		dir := t.TempDir()
		require.ErrorContains(t, seal.Generate(dir, &failingKEK{kek, calls}, false), errKMS.Error())
		require.Empty(t, names(t, dir))
	}
}

func invalid(t *testing.T, err error, says string) {
	t.Helper()
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), err)
	require.ErrorContains(t, err, says)
}

func requireMode(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, mode, info.Mode().Perm(), path)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
