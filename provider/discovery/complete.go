package discovery

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"golang.org/x/oauth2"
)

// SourceOf returns where an app's description comes from. ok is false if the app's
// provider does not describe itself.
func SourceOf(app provider.App) (s Source, ok bool) {
	if app.Discovery == nil {
		return Source{}, false
	}
	return Source{Issuer: app.Provider.Issuer, MCP: app.Provider.MCP}, true
}

// Complete returns the app with its provider's metadata: they fill what the app's base
// leaves out, and the app's own keys are laid over the result. The problem of an app that
// cannot be completed is of [perennial.CodeInvalid].
func Complete(app provider.App, m Metadata, allowPrivate bool) (provider.App, error) {
	d := app.Discovery
	if d == nil {
		return app, nil
	}
	e := d.Base
	e.Issuer = m.Issuer
	e.AuthURL, e.TokenURL = cmp.Or(e.AuthURL, m.AuthorizationEndpoint), cmp.Or(e.TokenURL, m.TokenEndpoint)
	if e.TokenURL == m.TokenEndpoint { // tokens of another server must not go there
		e.RevokeURL, e.IntrospectURL = cmp.Or(e.RevokeURL, m.RevocationEndpoint), cmp.Or(e.IntrospectURL, m.IntrospectionEndpoint)
	}
	e.AuthStyle = cmp.Or(e.AuthStyle, m.authStyle())
	e.IssuerSent = e.IssuerSent || m.IssuerSent
	if m.Resource != "" { // RFC 8707: the token is for this resource alone
		e.AuthParams, e.RefreshParams = with(e.AuthParams, "resource", m.Resource), with(e.RefreshParams, "resource", m.Resource)
	}
	var problem string
	e = d.Own.Over(e, d.Replace, func(key, text string) { problem = key + " " + text })
	if e.Account == (provider.AccountSource{}) {
		e.Account = accountOf(app, e)
	}
	if err := m.problem(app, e); err != nil {
		return app, err
	}
	if problem != "" {
		return app, perennial.Errorf(perennial.CodeInvalid, "app %s: %s", app.Name, problem)
	}
	if err := e.Validate(); err != nil {
		return app, perennial.Errorf(perennial.CodeInvalid, "app %s, with what %s says: %w", app.Name, m.From, err)
	}
	app.Provider, app.Discovery = e, nil
	app.PublicOnly = !allowPrivate && !local(m.Issuer)
	return app, nil
}

func with(m map[string]string, name, value string) map[string]string {
	out := map[string]string{name: value}
	maps.Copy(out, m)
	return out
}

const (
	methodHeader = "client_secret_basic"
	methodParams = "client_secret_post"
	methodNone   = "none"
)

// authStyle returns how the client authenticates. A server that does not say takes the
// header (RFC 8414 section 2). Zero: in no way that is known here.
func (m Metadata) authStyle() oauth2.AuthStyle {
	switch {
	case len(m.AuthMethods) == 0, slices.Contains(m.AuthMethods, methodHeader):
		return oauth2.AuthStyleInHeader
	case slices.Contains(m.AuthMethods, methodParams), slices.Contains(m.AuthMethods, methodNone):
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleAutoDetect
}

// problem names the metadata that this app lacks.
func (m Metadata) problem(app provider.App, e provider.Entry) error {
	switch {
	case e.AuthStyle == oauth2.AuthStyleAutoDetect:
		return perennial.Errorf(perennial.CodeInvalid, "app %s: %s takes a client only by %s: set auth_style", app.Name, m.Issuer, shown(strings.Join(m.AuthMethods, ", ")))
	case len(m.ChallengeMethods) > 0 && !slices.Contains(m.ChallengeMethods, "S256"):
		return perennial.Errorf(perennial.CodeInvalid, "app %s: %s takes no code challenge S256, with which each consent is protected (RFC 7636), only %s", app.Name, m.Issuer, shown(strings.Join(m.ChallengeMethods, ", ")))
	case m.Resource != "" && len(m.ChallengeMethods) == 0:
		return perennial.Errorf(perennial.CodeInvalid, "app %s: the metadata of %s name no code_challenge_methods_supported, and an MCP server's must have S256", app.Name, m.Issuer)
	}
	return nil
}

// accountOf returns where a standard server names the account of a grant: the subject of
// the ID token, if the app asks for one, else that of the introspection (RFC 7662).
func accountOf(app provider.App, e provider.Entry) provider.AccountSource {
	switch {
	case slices.Contains(app.Scopes, "openid"):
		return provider.AccountSource{From: provider.AccountFromIDToken, Name: "sub"}
	case e.IntrospectURL != "":
		return provider.AccountSource{From: provider.AccountFromIntrospection, Name: "sub"}
	}
	return provider.AccountSource{}
}
