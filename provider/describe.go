package provider

import "slices"

// Describe returns the description of an entry: laid over an empty entry, it gives the
// entry again.
func Describe(e Entry) Description {
	d := Description{
		Renewal: string(e.Renewal), CheckURL: e.CheckURL,
		Grant: string(e.Grant), GrantType: e.GrantType, Credentials: e.Credentials, CredentialsOptional: e.CredentialsOptional,
		Title: e.Title, RemoveAccess: e.RemoveAccess, Notes: e.Notes, AuthURL: e.AuthURL, TokenURL: e.TokenURL, RefreshURL: e.RefreshURL, IntroURL: e.IntrospectURL, RevokeURL: e.RevokeURL, Hosts: e.HostSuffixes, HostFrom: e.HostFrom,
		AuthStyle: authStyles[e.AuthStyle], SecretAsUser: said(e.SecretAsUser), JSONBody: said(e.JSONBody), RefreshParams: e.RefreshParams, RequestHeaders: e.RequestHeaders, AuthParams: e.AuthParams,
		Rotation: string(e.Rotation), ReplayClass: string(e.ReplayClass), ReplaySource: e.ReplaySource, GraceWindow: spanOf(e.GraceWindow), GraceReply: string(e.GraceReply), AfterGrace: string(e.AfterGrace),
		RefreshKills: said(e.RefreshKillsAccessToken), ChecksClient: said(e.ChecksClientFirst),
		RefreshWithin: spanOf(e.RefreshWithin), DefaultLifetime: spanOf(e.DefaultLifetime), IdleLifetime: spanOf(e.IdleLifetime), GrantLifetime: spanOf(e.GrantLifetime),
		GrantsPerUser: e.GrantsPerUser, Revocation: e.Revocation,
		ScopeSeparator: e.ScopeSeparator, ScopesUnnamed: e.ScopesUnnamed, ScopesImply: e.ScopesImply, ScopePrefixes: e.ScopePrefixes, ScopesNoCase: said(e.ScopesIgnoreCase), Issuer: e.Issuer, MCP: e.MCP, IssuerSent: said(e.IssuerSent),
		TokensUnder: e.TokensUnder, MembersAt: e.MembersAt, LifetimeUnit: spanOf(e.LifetimeUnit), MetadataFields: e.MetadataFields, AccountField: e.AccountField, RequestIDHeader: e.RequestIDHeader,
		RateLimitScope: string(e.RateLimitScope), RateLimit: e.RateLimit, APIHosts: e.APIHosts, Spellings: slices.Clone(e.Spellings), Evidence: e.Evidence, APISpellings: slices.Clone(e.API.Spellings), ReadPosts: e.API.ReadPosts,
	}
	if e.Account != (AccountSource{}) {
		d.Account = &e.Account
	}
	if !e.Exchange.isZero() {
		d.Exchange = &e.Exchange
	}
	if !e.FirstExchange.isZero() {
		d.FirstExchange = &e.FirstExchange
	}
	if e.Setup != (Setup{}) {
		d.Setup = &e.Setup
	}
	if !e.Assertion.isZero() {
		d.Assertion = &e.Assertion
	}
	return d
}

// said returns nil for false, which is left out.
func said(v bool) *bool {
	if !v {
		return nil
	}
	return &v
}
