package seal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/perennial-oauth/perennial"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyring seals and opens tokens. It is safe for concurrent use.
type Keyring struct{ boxes map[Field]box }

type box struct {
	aead    tink.AEAD
	primary uint32
	ids     []uint32 // of the enabled keys, the primary first
}

// ErrAltered is the cause of an error of [Keyring.Open] that other keys would not mend:
// the value is none of this program, or it names a key of this keyring and was sealed
// for another binding, or altered.
var ErrAltered = errors.New("the value was altered, or sealed for something else")

func newKeyring(handles map[Field]*keyset.Handle) (*Keyring, error) {
	k := &Keyring{boxes: map[Field]box{}}
	for field, handle := range handles {
		primitive, err := aead.New(handle)
		if err != nil {
			return nil, fmt.Errorf("use the %s keyset: %w", field, err)
		}
		primary, err := handle.Primary()
		if err != nil {
			return nil, fmt.Errorf("use the %s keyset: %w", field, err)
		}
		k.boxes[field] = box{primitive, primary.KeyID(), enabled(handle, primary.KeyID())}
	}
	return k, nil
}

// NewEphemeral returns a keyring whose keys exist only in this process, for tests and
// examples.
func NewEphemeral() (*Keyring, error) {
	handles := map[Field]*keyset.Handle{}
	for _, field := range Fields {
		handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
		if err != nil {
			return nil, fmt.Errorf("make a %s key: %w", field, err)
		}
		handles[field] = handle
	}
	return newKeyring(handles)
}

// CanOpen reports whether the keyring has the keyset of field.
func (k *Keyring) CanOpen(field Field) bool { _, ok := k.boxes[field.keyset()]; return ok }

// PrimaryKeyID returns the id of the key that seals field now.
func (k *Keyring) PrimaryKeyID(field Field) (uint32, error) {
	b, err := k.box(field)
	return b.primary, err
}

// KeyIDs returns the ids of the keys that open field, the one that seals it first. A
// keyring without that keyset has none.
func (k *Keyring) KeyIDs(field Field) []uint32 { return slices.Clone(k.boxes[field.keyset()].ids) }

func enabled(handle *keyset.Handle, primary uint32) []uint32 {
	ids := []uint32{primary}
	for _, key := range handle.KeysetInfo().GetKeyInfo() {
		if key.GetStatus() == tinkpb.KeyStatusType_ENABLED && key.GetKeyId() != primary {
			ids = append(ids, key.GetKeyId())
		}
	}
	return ids
}

// Seal encrypts s for b. The result contains the id of the key, see [KeyID].
func (k *Keyring) Seal(b Binding, s perennial.Secret) ([]byte, error) {
	box, err := k.box(b.Field)
	if err != nil {
		return nil, err
	}
	sealed, err := box.aead.Encrypt([]byte(s.Reveal()), b.associatedData())
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeSealed, "the %s of connection %s cannot be sealed: %w", b.Field, b.Connection, err)
	}
	return sealed, nil
}

// Open decrypts a value that was sealed for exactly the same b. Anything else is an
// error of [perennial.CodeSealed].
func (k *Keyring) Open(b Binding, sealed []byte) (perennial.Secret, error) {
	box, err := k.box(b.Field)
	if err != nil {
		return perennial.Secret{}, err
	}
	plain, err := box.aead.Decrypt(sealed, b.associatedData())
	if err != nil {
		id, idErr := KeyID(sealed)
		if idErr != nil || slices.Contains(box.ids, id) {
			return perennial.Secret{}, perennial.Errorf(perennial.CodeSealed, "the %s of connection %s does not open at generation %d (sealed with key %d, which this process has): %w",
				b.Field, b.Connection, b.Generation, id, ErrAltered)
		}
		return perennial.Secret{}, perennial.Errorf(perennial.CodeSealed,
			"the %s of connection %s does not open at generation %d (sealed with key %d, this process seals with %d): use the keys that it was sealed with",
			b.Field, b.Connection, b.Generation, id, box.primary)
	}
	return perennial.NewSecret(string(plain)), nil
}

func (k *Keyring) box(field Field) (box, error) {
	b, ok := k.boxes[field.keyset()]
	if !ok {
		return box{}, perennial.Errorf(perennial.CodeSealed, "this process has no %s keyset: it can neither seal nor open one", field)
	}
	return b, nil
}

// KeyID returns the id of the key that sealed was sealed with.
func KeyID(sealed []byte) (uint32, error) {
	// Tink's prefix: one byte of version, four of key id, big endian.
	if len(sealed) < 5 || sealed[0] != 1 {
		return 0, perennial.Errorf(perennial.CodeSealed, "not a sealed value of this program")
	}
	return uint32(sealed[1])<<24 | uint32(sealed[2])<<16 | uint32(sealed[3])<<8 | uint32(sealed[4]), nil
}
