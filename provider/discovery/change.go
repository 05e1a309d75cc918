package discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Change is one difference between the metadata in use and those that the provider shows
// now.
type Change struct {
	Member string `json:"member"` // "token_endpoint"
	From   string `json:"from"`   // in use; "": not there
	To     string `json:"to"`     // shown now
}

// String returns the change as a line.
func (c Change) String() string {
	return fmt.Sprintf("%s is %q now, and %q is in use", c.Member, c.To, c.From)
}

// values returns the values that complete an app. Hints for people and the place of the
// document do not count.
func (m Metadata) values() [][2]string {
	flag := func(set bool) string {
		if set {
			return "true"
		}
		return ""
	}
	return [][2]string{
		{"issuer", m.Issuer},
		{"authorization_endpoint", m.AuthorizationEndpoint},
		{"token_endpoint", m.TokenEndpoint},
		{"revocation_endpoint", m.RevocationEndpoint},
		{"introspection_endpoint", m.IntrospectionEndpoint},
		{"registration_endpoint", m.RegistrationEndpoint},
		{"token_endpoint_auth_methods_supported", strings.Join(m.AuthMethods, " ")},
		{"code_challenge_methods_supported", strings.Join(m.ChallengeMethods, " ")},
		{"authorization_response_iss_parameter_supported", flag(m.IssuerSent)},
		{"client_id_metadata_document_supported", flag(m.ClientIDDocuments)},
		{"resource", m.Resource},
	}
}

// Changes lists what differs if now takes the place of m.
func (m Metadata) Changes(now Metadata) []Change {
	var all []Change
	after := now.values()
	for i, v := range m.values() {
		if v[1] != after[i][1] {
			all = append(all, Change{v[0], v[1], after[i][1]})
		}
	}
	return all
}

// MovesTokens reports whether now would send tokens or the client secret to another host.
func (m Metadata) MovesTokens(now Metadata) bool {
	for _, pair := range [][2]string{{m.TokenEndpoint, now.TokenEndpoint}, {m.RevocationEndpoint, now.RevocationEndpoint}, {m.IntrospectionEndpoint, now.IntrospectionEndpoint}} {
		if pair[1] != "" && hostOf(pair[0]) != hostOf(pair[1]) {
			return true
		}
	}
	return false
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}

// encode returns the metadata as they are stored.
func (m Metadata) encode() string {
	raw, err := json.Marshal(m)
	if err != nil { // texts and lists of texts always can be written
		panic(err)
	}
	return string(raw)
}

func decode(document string) (m Metadata, err error) {
	if err = json.Unmarshal([]byte(document), &m); err != nil {
		err = fmt.Errorf("read stored metadata: %w", err)
	}
	return m, err
}

// ID names stored metadata, so that an operator accepts what he has seen.
func ID(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:6])
}
