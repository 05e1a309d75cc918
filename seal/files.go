package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/private"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// fileOf has the name of each field's keyset file in the directory of keys.
var fileOf = map[Field]string{
	FieldAccessToken:  "access.keyset.json",
	FieldRefreshToken: "refresh.keyset.json",
}

// Generate makes both keysets in dir, wrapped by kek. Without kek they are plaintext
// files, which needs allowPlaintext. It never overwrites existing keys: losing them
// loses every token.
func Generate(dir string, kek tink.AEAD, allowPlaintext bool) error {
	if err := plaintextAllowed(kek, allowPlaintext); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of keys: %w", err)
	}
	if err := private.CheckDir("the directory of keys", dir); err != nil {
		return err
	}
	for _, field := range Fields {
		if path := filepath.Join(dir, fileOf[field]); exists(path) {
			return alreadyThere(path)
		}
	}
	for i, field := range Fields {
		if err := generate(dir, field, kek); err != nil {
			for _, made := range Fields[:i] { // this call made it: nothing is sealed with it yet
				err = errors.Join(err, os.Remove(filepath.Join(dir, fileOf[made])))
			}
			return err
		}
	}
	return nil
}

func generate(dir string, field Field, kek tink.AEAD) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make a %s key: %w", field, err)
	}
	// Link, unlike Rename, fails if another process was faster.
	path := filepath.Join(dir, fileOf[field])
	if err = write(path, handle, kek, os.Link); errors.Is(err, fs.ErrExist) {
		return alreadyThere(path)
	}
	return err
}

func alreadyThere(path string) error {
	return perennial.Errorf(perennial.CodeConflict, "%s is there already: it is not overwritten, because every stored token needs it. Name another directory, or add a key with `perennial keys rotate`", path)
}

// Rotate adds a new key to both keysets and makes it the sealing key; the old keys
// still open. Running processes learn of it only by a restart: restart all readers
// before any writer.
func Rotate(dir string, kek tink.AEAD, allowPlaintext bool) error {
	if err := plaintextAllowed(kek, allowPlaintext); err != nil {
		return err
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	rotated := map[Field]*keyset.Handle{}
	for _, field := range Fields { // read all of them before writing the first
		if rotated[field], err = withNewKey(filepath.Join(dir, fileOf[field]), kek); err != nil {
			return errors.Join(err, unlock())
		}
	}
	for _, field := range Fields {
		if err := write(filepath.Join(dir, fileOf[field]), rotated[field], kek, os.Rename); err != nil {
			return errors.Join(err, unlock())
		}
	}
	return unlock()
}

// lock prevents two rotations at once: if both read the same keyset, the one that
// writes last would drop the other's key, and with it every token sealed with that key.
func lock(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, ".rotating")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, perennial.Errorf(perennial.CodeConflict, "another rotation holds %s: wait for it. If none is running, one was stopped half way; remove the file and rotate again", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noKeys(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("rotate the keys: %w", err)
	}
	return func() error { return os.Remove(path) }, f.Close()
}

func withNewKey(path string, kek tink.AEAD) (*keyset.Handle, error) {
	handle, err := read(path, kek)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, perennial.Errorf(perennial.CodeInvalid, "%s is missing: rotate where both keysets are, then copy them to where they are used", path)
	}
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("add a key to %s: %w", path, err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("add a key to %s: %w", path, err)
	}
	return manager.Handle()
}

// Load reads the keysets in dir and unwraps them with kek. A nil kek means plaintext
// files, which need allowPlaintext and mode 0600. One of the two may be missing: a
// process that only reads access tokens has no refresh keyset.
func Load(dir string, kek tink.AEAD, allowPlaintext bool) (*Keyring, error) {
	if err := plaintextAllowed(kek, allowPlaintext); err != nil {
		return nil, err
	}
	if err := checkDir(dir); err != nil {
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
		return nil, noKeys(dir)
	}
	return newKeyring(handles)
}

// checkDir refuses a directory in which other users could put their own keys.
func checkDir(dir string) error {
	err := private.CheckDir("the directory of keys", dir)
	if errors.Is(err, fs.ErrNotExist) {
		return noKeys(dir)
	}
	return err
}

func noKeys(dir string) error {
	return perennial.Errorf(perennial.CodeInvalid, "there are no keys in %q: make them once with `perennial keys new`", dir)
}

func plaintextAllowed(kek tink.AEAD, allowed bool) error {
	if kek == nil && !allowed {
		return perennial.Errorf(perennial.CodeInvalid, "the keys would stand in plain files: wrap them with a KMS (kms_uri), or, on one machine, set allow_plaintext_keys: true (for `keys` alone: --allow-plaintext)")
	}
	return nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func read(path string, kek tink.AEAD) (*keyset.Handle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a keyset: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the open file, wherever its name points to by now
	if err != nil {
		return nil, fmt.Errorf("read a keyset: %w", err)
	}
	if kek == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, perennial.Errorf(perennial.CodeInvalid, "%s can be read by others (mode %04o): run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	if info.Mode().Perm()&0o002 != 0 { // others may read a wrapped keyset, but not replace it
		return nil, perennial.Errorf(perennial.CodeInvalid, "%s can be written by others (mode %04o): run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	reader := keyset.NewJSONReader(f)
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

// write writes the whole keyset to a file beside path, which place then moves to path,
// so that a crash leaves no half file.
func write(path string, handle *keyset.Handle, kek tink.AEAD, place func(from, to string) error) error {
	var raw bytes.Buffer
	var err error
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
	defer func() { _ = os.Remove(f.Name()) }() // already gone after a rename
	_, err = f.Write(raw.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = place(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write the keyset %s: %w", path, err)
	}
	return nil
}

// syncDir makes a new name durable: a key that a power cut takes back may have sealed
// tokens already.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
