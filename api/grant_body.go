package api

import (
	"bytes"
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/provider"
)

// TokenReply is a token endpoint's reply (RFC 6749 section 5.1) as the provider sent
// it. It redacts itself.
type TokenReply struct{ raw perennial.Secret }

// UnmarshalJSON implements json.Unmarshaler.
func (t *TokenReply) UnmarshalJSON(raw []byte) error {
	t.raw = perennial.NewSecret(string(raw))
	return nil
}

// Schema implements [huma.SchemaProvider].
func (TokenReply) Schema(huma.Registry) *huma.Schema {
	text := func(doc string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: doc} }
	s := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true,
		Description: "What the token endpoint replied, as it is (RFC 6749 section 5.1), with the provider's own members",
		Properties: map[string]*huma.Schema{
			"access_token": text(""), "refresh_token": text("Needed, unless the provider puts the tokens elsewhere in its reply"),
			"token_type": text(""), "scope": {Description: "Text, or as the provider writes it"},
			"expires_in":  {Description: "Seconds"},
			"obtained_at": {Description: "When the reply was asked for: RFC 3339, or seconds since 1970. Without it the connection is refreshed at once."},
		}}
	s.PrecomputeMessages()
	return s
}

// Credentials are a customer's, in place of a consent. They redact themselves.
type Credentials struct{ raw perennial.Secret }

// UnmarshalJSON implements json.Unmarshaler.
func (c *Credentials) UnmarshalJSON(raw []byte) error {
	c.raw = perennial.NewSecret(string(raw))
	return nil
}

// Schema implements [huma.SchemaProvider].
func (Credentials) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true,
		Description: "In place of tokens, for an app whose provider asks for no consent: what the customer gave, with the names of the provider's description (`perennial provider show`). The first access token is asked for at once; if the provider refuses, nothing is stored."}
	s.PrecomputeMessages()
	return s
}

// withBody reads a body's token reply, in the form of the provider of the grant's app, or
// its credentials.
func (a *API) withBody(access perennial.Access, g connect.Grant, reply *TokenReply, given *Credentials) (connect.Grant, error) {
	app, ok := a.reachedApp(access, g.App)
	if !ok {
		p := problem(perennial.CodeInvalid, "There is no such app; GET %s lists those that there are.", appsPath)
		p.Errors = []wire.Invalid{{Location: "body.app", Message: "is not an app of the configuration"}}
		return g, p
	}
	if (reply == nil) == (given == nil) {
		p := problem(perennial.CodeInvalid, "Give either tokens or credentials, as the app's provider needs.")
		p.Errors = []wire.Invalid{{Location: "body.tokens", Message: "expected required property tokens to be present, or credentials in its place"}}
		return g, p
	}
	if given != nil {
		g.Credentials = given.raw
		return g, nil
	}
	var err error
	g.Tokens, g.ObtainedAt, err = provider.ParseTokens(bytes.NewReader([]byte(reply.raw.Reveal())), app.Provider)
	return g, err
}

var _, _ json.Unmarshaler = (*TokenReply)(nil), (*Credentials)(nil)
