package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/perennial-oauth/perennial"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// fileOf names each field's keyset file inside the directory of keys.
var fileOf = map[Field]string{
	FieldAccessToken:  "access.keyset.json",
	FieldRefreshToken: "refresh.keyset.json",
}

// Generate makes both keysets in dir, wrapped by kek. Without kek they are
// plaintext files, which needs allowPlaintext. Existing keys are never
// overwritten: losing them loses every token.
func Generate(dir string, kek tink.AEAD, allowPlaintext bool) error {
	if err := plaintextAllowed(kek, allowPlaintext); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of keys: %w", err)
	}
	for _, field := range Fields {
		if path := filepath.Join(dir, fileOf[field]); exists(path) {
			return perennial.Errorf(perennial.CodeConflict, "%s is there already: it is not overwritten, because every stored token needs it. Name another directory, or add a key with `perennial keys rotate`", path)
		}
	}
	for _, field := range Fields {
		handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
		if err != nil {
			return fmt.Errorf("make a %s key: %w", field, err)
		}
		if err := write(filepath.Join(dir, fileOf[field]), handle, kek); err != nil {
			return err
		}
	}
	return nil
}

// Rotate adds a new key to both keysets and makes it the one that seals; the old
// ones still open. Running processes must be restarted to know it, all readers
// before any writer.
func Rotate(dir string, kek tink.AEAD, allowPlaintext bool) error {
	if err := plaintextAllowed(kek, allowPlaintext); err != nil {
		return err
	}
	for _, field := range Fields {
		path := filepath.Join(dir, fileOf[field])
		handle, err := read(path, kek)
		if err != nil {
			return err
		}
		manager := keyset.NewManagerFromHandle(handle)
		id, err := manager.Add(aead.AES256GCMKeyTemplate())
		if err != nil {
			return fmt.Errorf("add a %s key: %w", field, err)
		}
		if err := manager.SetPrimary(id); err != nil {
			return fmt.Errorf("add a %s key: %w", field, err)
		}
		if handle, err = manager.Handle(); err != nil {
			return fmt.Errorf("add a %s key: %w", field, err)
		}
		if err := write(path, handle, kek); err != nil {
			return err
		}
	}
	return nil
}

// Load reads the keysets in dir, unwrapping them by kek; nil kek means plaintext
// files, which need allowPlaintext and mode 0600. One of the two may be missing:
// a process that only reads access tokens has no refresh keyset.
func Load(dir string, kek tink.AEAD, allowPlaintext bool) (*Keyring, error) {
	if err := plaintextAllowed(kek, allowPlaintext); err != nil {
		return nil, err
	}
	handles := map[Field]*keyset.Handle{}
	for _, field := range Fields {
		handle, err := read(filepath.Join(dir, fileOf[field]), kek)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		handles[field] = handle
	}
	if len(handles) == 0 {
		return nil, perennial.Errorf(perennial.CodeInvalid, "there are no keys in %q: make them once with `perennial keys new`", dir)
	}
	return newKeyring(handles)
}

func plaintextAllowed(kek tink.AEAD, allowed bool) error {
	if kek == nil && !allowed {
		return perennial.Errorf(perennial.CodeInvalid, "the keys would stand in plain files: wrap them with a KMS (kms_uri), or allow it for one machine with allow_plaintext_keys (--allow-plaintext)")
	}
	return nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func read(path string, kek tink.AEAD) (*keyset.Handle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read a keyset: %w", err)
	}
	if kek == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, perennial.Errorf(perennial.CodeInvalid, "%s can be read by others (mode %04o): run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a keyset: %w", err)
	}
	reader := keyset.NewJSONReader(bytes.NewReader(raw))
	var handle *keyset.Handle
	if kek == nil {
		handle, err = insecurecleartextkeyset.Read(reader)
	} else {
		handle, err = keyset.ReadWithAssociatedData(reader, kek, []byte(filepath.Base(path)))
	}
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeSealed, "%s is not a keyset that opens with these settings (kms_uri, allow_plaintext_keys): %w", path, err)
	}
	return handle, nil
}

// write puts the keyset beside path and renames it, so that a crash leaves the
// old file or the new one.
func write(path string, handle *keyset.Handle, kek tink.AEAD) (err error) {
	var raw bytes.Buffer
	if kek == nil {
		err = insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&raw))
	} else {
		err = handle.WriteWithAssociatedData(keyset.NewJSONWriter(&raw), kek, []byte(filepath.Base(path)))
	}
	if err != nil {
		return fmt.Errorf("wrap the keyset %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keyset-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the keyset %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write the keyset %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(raw.Bytes()); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
