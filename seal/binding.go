package seal

import (
	"encoding/binary"

	"github.com/perennial-oauth/perennial"
)

// Field names a sealed column; it also chooses the keyset.
type Field string

// The sealed fields of a connection, each with a keyset of its own.
const (
	FieldAccessToken  Field = "access_token"
	FieldRefreshToken Field = "refresh_token"
)

// FieldWebhookSecret is what an endpoint's messages are signed with. It is sealed
// by the refresh tokens' keyset: who only reads access tokens can sign nothing.
// Its binding names the endpoint in place of a connection, and the secret's
// version in place of a generation.
const FieldWebhookSecret Field = "webhook_secret"

// What a connect session holds for a short time: the code verifier of its newest
// authorization request, and the token reply until it is stored. They are sealed
// by the refresh tokens' keyset. Their binding names the session in place of a
// connection, and the number of the request in place of a generation.
const (
	FieldCodeVerifier Field = "code_verifier"
	FieldTokenReply   Field = "token_reply"
)

// keyset is the field whose keyset seals f.
func (f Field) keyset() Field {
	switch f {
	case FieldWebhookSecret, FieldCodeVerifier, FieldTokenReply:
		return FieldRefreshToken
	}
	return f
}

// Fields lists those that have a keyset.
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
