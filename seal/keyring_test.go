package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/require"
)

const planted = "PLANTED-rt-9f3aB7"

func newKeyring(t testing.TB) *seal.Keyring {
	t.Helper()
	k, err := seal.NewEphemeral()
	require.NoError(t, err)
	return k
}

func binding(field seal.Field) seal.Binding {
	return seal.Binding{Tenant: "acme", Connection: "c1", Field: field, Generation: 7}
}

func sealed(t testing.TB, k *seal.Keyring, b seal.Binding) []byte {
	t.Helper()
	out, err := k.Seal(b, perennial.NewSecret(planted))
	require.NoError(t, err)
	return out
}

// refused checks that err says sealed and reveals nothing.
func refused(t testing.TB, got perennial.Secret, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
	require.NotContains(t, err.Error(), planted)
	require.True(t, got.IsZero())
}

func TestSealedValueOpensAgain(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	for _, field := range seal.Fields {
		for _, value := range []string{planted, "", strings.Repeat("x", 1<<16), "\x00\xff"} {
			out, err := k.Seal(binding(field), perennial.NewSecret(value))
			require.NoError(t, err)
			if value != "" {
				require.NotContains(t, string(out), value)
			}
			got, err := k.Open(binding(field), out)
			require.NoError(t, err)
			require.Equal(t, value, got.Reveal())
		}
	}
	require.NotEqual(t, sealed(t, k, binding(seal.FieldAccessToken)), sealed(t, k, binding(seal.FieldAccessToken)),
		"two sealings of one token must not show that it is the same")
}

func TestSealedValueOpensOnlyWhereItBelongs(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	home := binding(seal.FieldRefreshToken)
	out := sealed(t, k, home)
	for name, change := range map[string]func(*seal.Binding){
		"another tenant":                      func(b *seal.Binding) { b.Tenant = "other" },
		"another connection":                  func(b *seal.Binding) { b.Connection = "c2" },
		"another field":                       func(b *seal.Binding) { b.Field = seal.FieldAccessToken },
		"a field that is none":                func(b *seal.Binding) { b.Field = "client_secret" },
		"the generation before":               func(b *seal.Binding) { b.Generation-- },
		"the generation after":                func(b *seal.Binding) { b.Generation++ },
		"the same letters, otherwise divided": func(b *seal.Binding) { b.Tenant, b.Connection = "acm", "ec1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := home
			change(&b)
			got, err := k.Open(b, out)
			refused(t, got, err)
		})
	}
}

// TestFieldIsPartOfTheBinding: even if one key seals both fields, a value of one does
// not open as the other. The separate keysets alone do not achieve that.
func TestFieldIsPartOfTheBinding(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, seal.Generate(dir, nil, true))
	raw, err := os.ReadFile(filepath.Join(dir, "access.keyset.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "refresh.keyset.json"), raw, 0o600))
	k, err := seal.Load(dir, nil, true)
	require.NoError(t, err)
	got, err := k.Open(binding(seal.FieldAccessToken), sealed(t, k, binding(seal.FieldRefreshToken)))
	refused(t, got, err)
}

func TestAlteredValueDoesNotOpen(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	b := binding(seal.FieldAccessToken)
	out := sealed(t, k, b)
	for n := range out { // every truncation, the whole too
		got, err := k.Open(b, out[:n])
		refused(t, got, err)
		flipped := bytes.Clone(out)
		flipped[n] ^= 1
		got, err = k.Open(b, flipped)
		refused(t, got, err)
	}
	got, err := k.Open(b, append(bytes.Clone(out), 0))
	refused(t, got, err)
}

func TestOtherKeysDoNotOpen(t *testing.T) {
	t.Parallel()
	b := binding(seal.FieldAccessToken)
	got, err := newKeyring(t).Open(b, sealed(t, newKeyring(t), b))
	refused(t, got, err)
	require.ErrorContains(t, err, "use the keys that it was sealed with")
}

func TestKeyIDIsVisible(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	for _, field := range seal.Fields {
		id, err := seal.KeyID(sealed(t, k, binding(field)))
		require.NoError(t, err)
		primary, err := k.PrimaryKeyID(field)
		require.NoError(t, err)
		require.Equal(t, primary, id)
	}
	for _, foreign := range [][]byte{nil, {1, 2, 3, 4}, {0, 0, 0, 0, 0, 0}, []byte(planted)} {
		_, err := seal.KeyID(foreign)
		refused(t, perennial.Secret{}, err)
	}
}

// TestKeyringPrintsNoKey prints a keyring whose key material is known.
func TestKeyringPrintsNoKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, seal.Generate(dir, nil, true))
	raw, err := os.ReadFile(filepath.Join(dir, "access.keyset.json"))
	require.NoError(t, err)
	m := regexp.MustCompile(`"value":"([^"]+)"`).FindSubmatch(raw)
	require.NotNil(t, m)
	proto, err := base64.StdEncoding.DecodeString(string(m[1]))
	require.NoError(t, err)
	key := proto[len(proto)-32:] // the last field of AesGcmKey
	k, err := seal.Load(dir, nil, true)
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
		for _, arg := range []any{k, *k, []any{k}, struct{ K *seal.Keyring }{k}} {
			out := fmt.Sprintf(verb, arg)
			require.NotContains(t, out, string(key))
			require.NotContains(t, out, fmt.Sprintf("%x", key))
			require.NotContains(t, out, strings.Trim(fmt.Sprint(key), "[]"))
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := newKeyring(f)
	b := binding(seal.FieldRefreshToken)
	good := sealed(f, k, b)
	f.Add(good, b.Tenant, b.Connection, string(b.Field), b.Generation)
	f.Add(good[:5], "", "", string(seal.FieldAccessToken), int64(-1))
	f.Add([]byte{}, "\x00", "\xff", "", int64(0))
	f.Fuzz(func(t *testing.T, raw []byte, tenant, connection, field string, generation int64) {
		at := seal.Binding{Tenant: tenant, Connection: connection, Field: seal.Field(field), Generation: generation}
		got, err := k.Open(at, raw)
		if at == b && bytes.Equal(raw, good) {
			require.NoError(t, err)
			require.Equal(t, planted, got.Reveal())
			return
		}
		refused(t, got, err)
		if _, err := seal.KeyID(raw); err != nil {
			require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, at, s := newKeyring(b), binding(seal.FieldAccessToken), perennial.NewSecret(strings.Repeat("t", 1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(at, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, at := newKeyring(b), binding(seal.FieldAccessToken)
	out, err := k.Seal(at, perennial.NewSecret(strings.Repeat("t", 1024)))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(at, out); err != nil {
			b.Fatal(err)
		}
	}
}

var errKMS = errors.New("the KMS is away")

// TestAlteredOrOtherKeys: an error tells whether another process, with other keys, might
// open the value.
func TestAlteredOrOtherKeys(t *testing.T) {
	t.Parallel()
	k, other := newKeyring(t), newKeyring(t)
	home := binding(seal.FieldSaveRequest)
	out := sealed(t, k, home)
	_, err := other.Open(home, out)
	require.Error(t, err)
	require.NotErrorIs(t, err, seal.ErrAltered)
	elsewhere := home
	elsewhere.Generation++
	flipped := bytes.Clone(out)
	flipped[len(flipped)-1] ^= 1
	for name, open := range map[string]func() error{
		"another binding": func() error { _, err := k.Open(elsewhere, out); return err },
		"a flipped bit":   func() error { _, err := k.Open(home, flipped); return err },
		"nothing":         func() error { _, err := k.Open(home, nil); return err },
		"no key's id":     func() error { _, err := other.Open(home, []byte("garbage")); return err },
		"cut":             func() error { _, err := k.Open(home, out[:5]); return err },
	} {
		require.ErrorIs(t, open(), seal.ErrAltered, name)
		require.Equal(t, perennial.CodeSealed, perennial.CodeOf(open()), name)
	}
	_, err = new(seal.Keyring).Open(home, out)
	require.Error(t, err)
	require.NotErrorIs(t, err, seal.ErrAltered, "a process without the keyset cannot tell")
}
