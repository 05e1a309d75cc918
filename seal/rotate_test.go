package seal_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func TestRotationOpensOldValues(t *testing.T) {
	t.Parallel()
	for name, kek := range map[string]tink.AEAD{"plaintext": nil, "wrapped": newKEK(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, seal.Generate(dir, kek, true))
			seen := map[uint32]bool{}
			var outs [][]byte
			b := binding(seal.FieldRefreshToken)
			for range 3 {
				k, err := seal.Load(dir, kek, true)
				require.NoError(t, err)
				outs = append(outs, sealed(t, k, b))
				id, err := k.PrimaryKeyID(b.Field)
				require.NoError(t, err)
				require.False(t, seen[id], "the new key seals")
				seen[id] = true
				for _, out := range outs {
					got, err := k.Open(b, out)
					require.NoError(t, err)
					require.Equal(t, planted, got.Reveal())
				}
				before := k
				require.NoError(t, seal.Rotate(dir, kek, true))
				requireMode(t, refreshFile(dir), 0o600)
				after, err := seal.Load(dir, kek, true)
				require.NoError(t, err)
				got, err := before.Open(b, sealed(t, after, b))
				refused(t, got, err) // a running process does not know the new key until it is restarted
			}
		})
	}
}

// TestConcurrentRotations: no rotation drops another's key.
func TestConcurrentRotations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, seal.Generate(dir, nil, true))
	b := binding(seal.FieldAccessToken)
	var mu sync.Mutex
	var outs [][]byte
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			err := seal.Rotate(dir, nil, true)
			if err != nil {
				assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
				return
			}
			k, err := seal.Load(dir, nil, true)
			assert.NoError(t, err)
			out, err := k.Seal(b, perennial.NewSecret(planted))
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			outs = append(outs, out)
		})
	}
	group.Wait()
	require.NotEmpty(t, outs)
	k, err := seal.Load(dir, nil, true)
	require.NoError(t, err)
	for _, out := range outs {
		_, err := k.Open(b, out)
		require.NoError(t, err)
	}
}

func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	t.Run("no directory", func(t *testing.T) {
		t.Parallel()
		invalid(t, seal.Rotate(filepath.Join(t.TempDir(), "none"), nil, true), "perennial keys new")
	})
	t.Run("half the keysets, changing neither", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, seal.Generate(dir, nil, true))
		before, err := os.ReadFile(accessFile(dir))
		require.NoError(t, err)
		require.NoError(t, os.Remove(refreshFile(dir)))
		invalid(t, seal.Rotate(dir, nil, true), "rotate where both keysets are")
		after, err := os.ReadFile(accessFile(dir))
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.Equal(t, []string{"access.keyset.json"}, names(t, dir))
	})
	t.Run("another rotation", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, seal.Generate(dir, nil, true))
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".rotating"), nil, 0o600))
		err := seal.Rotate(dir, nil, true)
		require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
		require.FileExists(t, filepath.Join(dir, ".rotating"), "not ours to remove")
	})
}
