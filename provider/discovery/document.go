package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial/internal/netguard"
	"github.com/perennial-oauth/perennial/internal/plainurl"
	"github.com/perennial-oauth/perennial/internal/printable"
)

// Metadata are an authorization server's own, as far as they are used here.
// The names are those of RFC 8414, and of its registry at IANA.
type Metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint,omitempty"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint string   `json:"introspection_endpoint,omitempty"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported,omitempty"`
	IssuerSent            bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	ClientIDDocuments     bool     `json:"client_id_metadata_document_supported,omitempty"`
	Scopes                []string `json:"scopes_supported,omitempty"` // a hint for people

	Resource string `json:"resource,omitempty"` // of an MCP server (RFC 9728, RFC 8707)
	From     string `json:"read_from"`          // the URL of the document
}

// Resource has a protected resource's metadata (RFC 9728 section 2).
type Resource struct {
	Resource string
	Servers  []string // issuers of its authorization servers
	Scopes   []string
}

const (
	maxURL   = 2000 // bytes of a text
	maxWords = 500  // elements of a list
)

// members reads members of a foreign JSON object by their exact names. It keeps the first
// problem.
type members struct {
	all map[string]json.RawMessage
	err error
}

var errNoObject = errors.New("it is not a JSON object")

func readMembers(raw []byte) members {
	m := members{}
	if err := json.Unmarshal(raw, &m.all); err != nil || m.all == nil {
		m.err = errNoObject // an error of the package would repeat bytes of the document
	}
	return m
}

func (m *members) problem(name, text string) {
	if m.err == nil {
		m.err = fmt.Errorf("its %s %s", name, text)
	}
}

// has reports whether a member is there; null is none.
func (m *members) has(name string) bool { return len(m.all[name]) > 0 && string(m.all[name]) != "null" }

func (m *members) text(name string) (s string) {
	if !m.has(name) {
		return ""
	}
	if json.Unmarshal(m.all[name], &s) != nil {
		m.problem(name, "is not a text")
	} else if len(s) > maxURL || !printable.Is(s) {
		m.problem(name, "is too long, or has characters that cannot be printed")
		s = ""
	}
	return s
}

func (m *members) flag(name string) (set bool) {
	if m.has(name) && json.Unmarshal(m.all[name], &set) != nil {
		m.problem(name, "is neither true nor false")
	}
	return set
}

func (m *members) list(name string) (list []string) {
	if !m.has(name) {
		return nil
	}
	if json.Unmarshal(m.all[name], &list) != nil {
		m.problem(name, "is not a list of texts")
		return nil
	}
	bad := func(s string) bool { return len(s) > maxURL || !printable.Is(s) }
	if len(list) > maxWords || slices.ContainsFunc(list, bad) {
		m.problem(name, "is too long, or has characters that cannot be printed")
		return nil
	}
	return list
}

// endpoint reads a URL to which tokens or secrets go.
func (m *members) endpoint(name string, allowed checks) string {
	s := m.text(name)
	if s == "" {
		return ""
	}
	if why := allowed.bad(s); why != "" {
		m.problem(name, why)
		return ""
	}
	return s
}

// ParseMetadata reads the document of an issuer, which must name that issuer letter by
// letter (RFC 8414 section 3.3).
func ParseMetadata(raw []byte, issuer string, allowPrivate bool) (Metadata, error) {
	m := readMembers(raw)
	named := m.text("issuer")
	if m.err == nil && named != issuer {
		return Metadata{}, otherIssuer(named, issuer)
	}
	allowed := checks{allowPrivate: allowPrivate, local: local(issuer)}
	out := Metadata{
		Issuer:                named,
		AuthorizationEndpoint: m.endpoint("authorization_endpoint", allowed),
		TokenEndpoint:         m.endpoint("token_endpoint", allowed),
		RevocationEndpoint:    m.endpoint("revocation_endpoint", allowed),
		IntrospectionEndpoint: m.endpoint("introspection_endpoint", allowed),
		RegistrationEndpoint:  m.endpoint("registration_endpoint", allowed),
		AuthMethods:           m.list("token_endpoint_auth_methods_supported"),
		ChallengeMethods:      m.list("code_challenge_methods_supported"),
		IssuerSent:            m.flag("authorization_response_iss_parameter_supported"),
		ClientIDDocuments:     m.flag("client_id_metadata_document_supported"),
	}
	if m.err == nil && out.TokenEndpoint == "" {
		m.err = errors.New("it names no token_endpoint")
	}
	if m.err != nil {
		return Metadata{}, m.err
	}
	out.Scopes = m.list("scopes_supported") // a wrong hint is no reason to refuse
	return out, nil
}

// ParseResource reads the document of a protected resource at a URL.
func ParseResource(raw []byte, at string) (Resource, error) {
	m := readMembers(raw)
	out := Resource{Resource: m.text("resource"), Servers: m.list("authorization_servers")}
	if m.err == nil && !covers(out.Resource, at) {
		return Resource{}, otherResource(out.Resource, at)
	}
	if m.err != nil {
		return Resource{}, m.err
	}
	out.Scopes = m.list("scopes_supported")
	return out, nil
}

// covers reports whether resource is the URL itself, with or without a slash at its end,
// or a parent of it at the same origin: a server may describe everything below one path at once.
func covers(resource, at string) bool {
	if resource == at {
		return true
	}
	r, err := url.Parse(resource)
	if err != nil || r.RawQuery != "" || r.Fragment != "" || r.User != nil || r.Host == "" {
		return false
	}
	u, err := url.Parse(at)
	if err != nil || r.Scheme != u.Scheme || r.Host != u.Host {
		return false
	}
	return strings.HasPrefix(u.EscapedPath()+"/", strings.TrimSuffix(r.EscapedPath(), "/")+"/")
}

// checks says which URLs a server may name.
type checks struct {
	allowPrivate bool
	local        bool // the server itself is on this machine
}

// bad says what is wrong with a URL, "" if nothing is. A name that resolves to a private
// address is refused when it is dialed.
func (c checks) bad(raw string) string {
	if why := plainurl.Bad(raw); why != "" {
		return why
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || strings.ContainsAny(raw, "{}"):
		return "is not a whole URL"
	case local(raw) && !c.local:
		return "is on this machine, and the server that names it is not"
	case c.allowPrivate || c.local:
		return ""
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !netguard.Public(ip) {
		return "is not public: discovery: allow_private allows that"
	}
	return ""
}
