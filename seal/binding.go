package seal

import (
	"encoding/binary"

	"github.com/perennial-oauth/perennial"
)

// Field names a sealed column; it also chooses the keyset.
type Field string

// The two sealed fields, each with a keyset of its own.
const (
	FieldAccessToken  Field = "access_token"
	FieldRefreshToken Field = "refresh_token"
)

// Fields lists both.
var Fields = []Field{FieldAccessToken, FieldRefreshToken}

// Binding is what a sealed value belongs to. It is the associated data of the
// encryption: a value copied to another tenant, connection, field or generation
// does not open.
type Binding struct {
	Tenant     string
	Connection string
	Field      Field
	Generation int64
}

// BindingOf names field of connection at generation.
func BindingOf(c perennial.Connection, field Field, generation int64) Binding {
	return Binding{Tenant: c.TenantID, Connection: c.ID, Field: field, Generation: generation}
}

// associatedData encodes b without ambiguity: every part with its length.
func (b Binding) associatedData() []byte {
	out := []byte("perennial/1")
	for _, part := range []string{b.Tenant, b.Connection, string(b.Field)} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return binary.BigEndian.AppendUint64(out, uint64(b.Generation))
}
