package seal

import (
	"encoding/binary"

	"github.com/perennial-oauth/perennial"
)

// Field names a sealed column. It also selects the keyset.
type Field string

// The sealed fields of a connection. Each has its own keyset.
const (
	FieldAccessToken  Field = "access_token"
	FieldRefreshToken Field = "refresh_token"
)

// FieldWebhookSecret is the signing secret of a webhook endpoint. The refresh tokens'
// keyset seals it, so that a process that only reads access tokens cannot sign
// messages. Its binding names the endpoint instead of a connection, and the secret's
// version instead of a generation.
const FieldWebhookSecret Field = "webhook_secret"

// The short-lived secrets of a connect session: the code verifier of its newest
// authorization request, and the token reply until it is stored. The refresh tokens'
// keyset seals them. Their binding names the session instead of a connection, and the
// number of the request instead of a generation.
const (
	FieldCodeVerifier Field = "code_verifier"
	FieldTokenReply   Field = "token_reply"
	// FieldAccountChoice is a token reply whose grant reaches several accounts.
	FieldAccountChoice Field = "account_choice"
	// FieldBoundReply is a token reply of a bound session, which is not stored before the
	// product has finished it.
	FieldBoundReply Field = "bound_reply"
)

// FieldSaveRequest is a request to save a token set, while it is outside of the process
// that received the set. The refresh tokens' keyset seals it.
const FieldSaveRequest Field = "save_request"

// FieldKeptReply is a token endpoint's reply that could not be read. The refresh tokens'
// keyset seals it, at the generation of the tokens that it may replace.
const FieldKeptReply Field = "kept_reply"

// FieldClientSecret is the secret of a client that an authorization server has registered.
// The refresh tokens' keyset seals it. Its binding names the app and the server instead of
// a connection, and the number of the registration instead of a generation.
const FieldClientSecret Field = "client_secret"

// keyset returns the field whose keyset seals f.
func (f Field) keyset() Field {
	switch f {
	case FieldWebhookSecret, FieldCodeVerifier, FieldTokenReply, FieldAccountChoice, FieldBoundReply, FieldSaveRequest, FieldKeptReply, FieldClientSecret:
		return FieldRefreshToken
	}
	return f
}

// Fields lists the fields with a keyset.
var Fields = []Field{FieldAccessToken, FieldRefreshToken}

// Binding names the owner of a sealed value. It is the associated data of the
// encryption: a value copied to another tenant, connection, field or generation does
// not open.
type Binding struct {
	Tenant     string
	Connection string
	Field      Field
	Generation int64
}

// BindingOf returns the binding of a connection's field at a generation.
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
