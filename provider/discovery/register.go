package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// Registration asks an authorization server for a client (RFC 7591 section 2).
type Registration struct {
	RedirectURIs  []string `json:"redirect_uris"`
	ClientName    string   `json:"client_name,omitempty"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	Scope         string   `json:"scope,omitempty"`
}

// ClientDocument is the document of a client whose id is the document's URL
// (draft-ietf-oauth-client-id-metadata-document).
type ClientDocument struct {
	ClientID string `json:"client_id"`
	Registration
}

func registration(name, redirectURI, method string, scopes []string) Registration {
	return Registration{RedirectURIs: []string{redirectURI}, ClientName: name, GrantTypes: []string{"authorization_code", "refresh_token"},
		ResponseTypes: []string{"code"}, AuthMethod: method, Scope: strings.Join(scopes, " ")}
}

// Registered is the client that a server has registered (RFC 7591 section 3.2.1).
type Registered struct {
	ClientID        string
	Secret          perennial.Secret // empty: a public client
	SecretExpiresAt time.Time        // zero: never
	AuthMethod      string
}

// maxSecret bounds a client secret, in bytes.
const maxSecret = 4096

// ParseRegistered reads the reply to a registration. Its errors repeat nothing of it.
func ParseRegistered(raw []byte, asked Registration) (Registered, error) {
	m := readMembers(raw)
	out := Registered{ClientID: m.text("client_id"), AuthMethod: asked.AuthMethod}
	var secret string
	if m.has("client_secret") && (json.Unmarshal(m.all["client_secret"], &secret) != nil || len(secret) > maxSecret) {
		m.problem("client_secret", "is no text, or too long")
	}
	out.Secret = perennial.NewSecret(secret)
	var expires float64
	if m.has("client_secret_expires_at") && json.Unmarshal(m.all["client_secret_expires_at"], &expires) != nil {
		m.problem("client_secret_expires_at", "is no number")
	}
	if expires > 0 && expires < 1e11 {
		out.SecretExpiresAt = time.Unix(int64(expires), 0).UTC()
	}
	if method := m.text("token_endpoint_auth_method"); method != "" {
		out.AuthMethod = method // the server may choose another one
	}
	switch uris := m.list("redirect_uris"); {
	case m.err != nil:
		return Registered{}, m.err
	case out.ClientID == "":
		return Registered{}, errors.New("it names no client_id")
	case !slices.Contains([]string{methodHeader, methodParams, methodNone}, out.AuthMethod):
		return Registered{}, errors.New("its token_endpoint_auth_method is none that was asked for")
	case out.AuthMethod != methodNone && secret == "":
		return Registered{}, errors.New("it names no client_secret")
	case len(uris) > 0 && !slices.Contains(uris, asked.RedirectURIs[0]):
		return Registered{}, errors.New("its redirect_uris lack the one that was asked for")
	}
	if out.AuthMethod == methodNone {
		out.Secret = perennial.Secret{}
	}
	return out, nil
}

// Register registers a client at an endpoint (RFC 7591 section 3). It asks once.
func (f *Fetcher) Register(ctx context.Context, endpoint string, asked Registration) (Registered, error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return Registered{}, fmt.Errorf("write the registration: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return Registered{}, errors.New("the registration_endpoint is not a whole URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := f.send(req)
	if err != nil {
		return Registered{}, err
	}
	defer resp.Body.Close()
	raw, err := readBody(resp)
	if err != nil {
		return Registered{}, err
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		m := readMembers(raw)
		if code := m.text("error"); code != "" {
			return Registered{}, fmt.Errorf("it answers HTTP %d, %s", resp.StatusCode, shown(code))
		}
		return Registered{}, &statusError{resp.StatusCode}
	}
	return ParseRegistered(raw, asked)
}

// method returns how a client to be registered authenticates: as the server prefers, among
// what is known here.
func (m Metadata) method() string {
	switch {
	case len(m.AuthMethods) == 0, slices.Contains(m.AuthMethods, methodHeader):
		return methodHeader
	case slices.Contains(m.AuthMethods, methodParams):
		return methodParams
	}
	return methodNone
}
