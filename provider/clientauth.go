package provider

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/assertion"
	"github.com/perennial-oauth/perennial/internal/seam"
	"golang.org/x/oauth2"
)

// The ways of client authentication beside [oauth2.AuthStyleInHeader] and
// [oauth2.AuthStyleInParams]. x/oauth2 does not know them: this package adds what they
// need to its request, which has the client_id alone.
const (
	// AuthStyleNone is that of a public client (RFC 6749 section 2.1).
	AuthStyleNone oauth2.AuthStyle = iota + 64
	// AuthStylePrivateKeyJWT and AuthStyleSecretJWT prove the client by a signed token
	// (RFC 7523 section 2.2, OpenID Connect Core section 9): by a private key, or by the
	// client secret.
	AuthStylePrivateKeyJWT
	AuthStyleSecretJWT
	// AuthStyleTLS proves it by its certificate in TLS (RFC 8705 section 2).
	AuthStyleTLS
)

var authStyles = map[oauth2.AuthStyle]string{
	oauth2.AuthStyleInHeader: "header", oauth2.AuthStyleInParams: "params", AuthStyleNone: "none",
	AuthStylePrivateKeyJWT: "private_key_jwt", AuthStyleSecretJWT: "client_secret_jwt", AuthStyleTLS: "tls_client_auth",
}

// client reads how the client of a description authenticates.
func (o overlay) client() {
	if o.d.AuthStyle != "" {
		o.oneOf("auth_style", o.d.AuthStyle, enumOf[Description]("AuthStyle"))
		for style, name := range authStyles {
			if name == o.d.AuthStyle {
				o.e.AuthStyle = style
			}
		}
	}
	if o.d.Assertion != nil {
		o.e.Assertion = *o.d.Assertion
		if o.e.Assertion.Algorithm != "" {
			o.oneOf("assertion.algorithm", o.e.Assertion.Algorithm, assertion.Algorithms)
		}
	}
	setBool(&o.e.SecretAsUser, o.d.SecretAsUser)
	setBool(&o.e.JSONBody, o.d.JSONBody)
	o.members("refresh_params", &o.e.RefreshParams, o.d.RefreshParams)
	o.headers()
	o.members("auth_params", &o.e.AuthParams, o.d.AuthParams)
}

// Proof is the kind of secret that a client authenticates with.
type Proof string

// The proofs.
const (
	ProofNone   Proof = "none"
	ProofSecret Proof = "client_secret"
	ProofKey    Proof = "client_key" // a private key, for TLS with its certificate
)

// Proof returns the kind of secret that an app has to have, beside its customers' own.
func (e Entry) Proof() Proof {
	given := func(name string) bool {
		return slices.Contains(e.Credentials, name)
	}
	needs := ProofSecret
	switch e.AuthStyle {
	case AuthStyleNone:
		needs = ProofNone
		if e.signsGrants() {
			needs = ProofKey
		}
	case AuthStylePrivateKeyJWT, AuthStyleTLS:
		needs = ProofKey
	}
	if needs == ProofSecret && given(credentialClientSecret) || needs == ProofKey && e.AuthStyle != AuthStyleTLS && given(credentialKey) {
		return ProofNone
	}
	return needs
}

// signsGrants reports whether a signed token is the grant.
func (e Entry) signsGrants() bool { return e.Grant == GrantJWTBearer || e.Grant == GrantInstallation }

// CheckProof returns an error if a client secret or key cannot be used. Its text is the
// end of a sentence, and repeats no part of the value.
func (e Entry) CheckProof(proof perennial.Secret) error {
	switch e.AuthStyle {
	case AuthStyleTLS:
		_, err := assertion.Certificate(proof)
		return err
	case AuthStylePrivateKeyJWT, AuthStyleSecretJWT:
		_, err := e.sign(proof, map[string]any{"iss": "check"})
		return err
	case AuthStyleNone:
		if e.signsGrants() {
			_, err := e.sign(proof, map[string]any{"iss": "check"})
			return err
		}
	}
	return nil
}

// Assertion says how the tokens are made that a client signs (RFC 7523 section 3).
type Assertion struct {
	Audience string `yaml:"audience,omitempty" doc:"aud, letter by letter: the token endpoint if it is left out, or the issuer's name if the provider asks for that."`
	// AudienceList: aud is a list of that one name. RFC 7519 section 4.1.3 lets a server
	// read both forms, but fosite (Ory Hydra) reads only lists.
	AudienceList bool   `yaml:"audience_list,omitempty" doc:"aud is sent as a list of one name, for servers that read only lists (Ory Hydra)."`
	Algorithm    string `yaml:"algorithm,omitempty" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,HS256,HS384,HS512" doc:"The algorithm of the signature; left out: the JSON Web Key's own, else RS256, ES256, ES384, ES512 or EdDSA as the key is, and HS256 with a client secret."`

	Issuer  string            `yaml:"issuer,omitempty" doc:"With a grant that is a signed token: its iss. Left out: the client_id. A {name} stands for that credential."`
	Subject string            `yaml:"subject,omitempty" doc:"Its sub. Left out: as iss."`
	Claims  map[string]string `yaml:"claims,omitempty" doc:"More claims of it. {scopes} stands for the app's scopes."`
}

func (a Assertion) isZero() bool {
	return a.Audience+a.Algorithm+a.Issuer+a.Subject == "" && !a.AudienceList && len(a.Claims) == 0
}

const (
	// assertionLife is how long a signed token is valid: enough for one request and for
	// clocks that differ a little. Salesforce allows three minutes.
	assertionLife = 2 * time.Minute
	// assertionSkew is how far before our now it is valid: a token from the future is
	// refused, and the provider's clock may be behind.
	assertionSkew = 30 * time.Second
)

// claims returns the claims that every signed token has. Each has an id of its own,
// because a provider accepts one only once.
func (a App) claims(issuer, subject string) map[string]any {
	now := seam.Now()
	var audience any = cmp.Or(a.Provider.Assertion.Audience, a.Provider.TokenURL)
	if a.Provider.Assertion.AudienceList {
		audience = []any{audience}
	}
	from := now.Add(-assertionSkew).Unix()
	return map[string]any{"iss": issuer, "sub": subject, "aud": audience, "jti": rand.Text(), "iat": from, "nbf": from, "exp": now.Add(assertionLife).Unix()}
}

func (e Entry) sign(proof perennial.Secret, claims map[string]any) (perennial.Secret, error) {
	if e.AuthStyle == AuthStyleSecretJWT {
		return assertion.SignWithSecret(proof, e.Assertion.Algorithm, claims)
	}
	key, err := assertion.ReadKey(proof)
	if err != nil {
		return perennial.Secret{}, err
	}
	return key.Sign(e.Assertion.Algorithm, claims)
}

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// proven returns the members that prove the client in one request, beside those of
// x/oauth2. signed is the secret among them, if there is one.
func (a App) proven(proof perennial.Secret) (members url.Values, signed perennial.Secret, err error) {
	switch a.Provider.AuthStyle {
	case AuthStylePrivateKeyJWT, AuthStyleSecretJWT:
		if signed, err = a.Provider.sign(proof, a.claims(a.ClientID, a.ClientID)); err != nil {
			return nil, signed, fmt.Errorf("the client's key or secret %w", err)
		}
		members = url.Values{"client_assertion_type": {assertionType}, "client_assertion": {signed.Reveal()}}
	}
	return members, signed, nil
}

// certified has a transport for each client certificate.
type certified struct {
	mu sync.Mutex
	by map[certifiedKey]http.RoundTripper
}

type certifiedKey struct {
	digest string // of key and certificate
	public bool   // see [App.PublicOnly]
}

// maxCertified bounds the transports: apps have a few certificates, and one more for each
// time that they are renewed.
const maxCertified = 256

// through returns the transport for an app's requests to its token endpoint.
func (c *Client) through(app App, proof perennial.Secret) (http.RoundTripper, error) {
	if app.Provider.AuthStyle != AuthStyleTLS {
		return c.to(app), nil
	}
	key := certifiedKey{proof.Digest(), app.PublicOnly}
	c.certified.mu.Lock()
	defer c.certified.mu.Unlock()
	if known := c.certified.by[key]; known != nil {
		return known, nil
	}
	certificate, err := assertion.Certificate(proof)
	if err != nil {
		return nil, fmt.Errorf("the client's key %w", err)
	}
	base, ok := c.to(app).(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("a client certificate needs a transport of net/http, not a %T", c.to(app))
	}
	own := base.Clone()
	if own.TLSClientConfig == nil {
		own.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	own.TLSClientConfig.Certificates = []tls.Certificate{certificate}
	if c.certified.by == nil || len(c.certified.by) >= maxCertified {
		c.certified.by = map[certifiedKey]http.RoundTripper{}
	}
	c.certified.by[key] = own
	return own, nil
}
