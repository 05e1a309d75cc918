package words

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// redacted is all that formatting or encoding a [Secret] shows.
const redacted = "[redacted]"

// Secret holds a token, client secret or code and redacts itself in every formatting
// and encoding: fmt verbs, slog, JSON, text, gob. Only [Secret.Reveal] returns the
// value. The zero value is the empty secret.
//
// It holds the value in a handle, not in a string, because fmt prints the unexported
// fields of a struct without calling their methods and would find a string there.
// Secrets with the same value are equal by ==.
type Secret struct{ value unique.Handle[string] }

// NewSecret wraps value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: unique.Make(value)}
}

// Reveal returns the value itself. Review every call.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.value.Value()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s == Secret{} }

// Digest returns the lower-case hex SHA-256 of the value, and "" for the empty secret.
// It identifies a token in guards without storing it. Tokens have so much entropy that
// the digest reveals nothing; do not use it for passwords.
func (s Secret) Digest() string {
	if s.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// String implements [fmt.Stringer].
func (s Secret) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (s Secret) GoString() string { return "perennial.Secret(" + redacted + ")" }

// Format implements [fmt.Formatter], so that no verb reaches the field. A write error
// belongs to the caller's writer and cannot be returned from here.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary implements encoding.BinaryMarshaler (gob).
func (s Secret) MarshalBinary() ([]byte, error) { return []byte(redacted), nil }
