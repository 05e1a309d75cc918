package resource

// servers has APIs that say things in their own words, as the catalogue does. The client
// hears of any other with the connection.
var servers = map[string]Server{
	"atlassian": {
		// A missing scope gets a 401 (raycast issue 11212).
		Spellings: []Spelling{{Contains: "scope does not match", Means: UnauthorizedNotPermitted}},
	},
	"clickup": {
		// A workspace that the user did not tick gets a 401 (ECODE OAUTH_023, OAUTH_027).
		Spellings: []Spelling{{Contains: "team not authorized", Means: UnauthorizedNotPermitted}},
	},
	"hubspot": {
		// "The OAuth token used to make this call expired 0 second(s) ago." (airbyte
		// issue 74726); an unknown token gives INVALID_AUTHENTICATION, a missing scope
		// MISSING_SCOPES with 403.
		Spellings: []Spelling{
			{Code: "EXPIRED_AUTHENTICATION", Means: UnauthorizedToken},
			{Code: "INVALID_AUTHENTICATION", Means: UnauthorizedToken},
			{Code: "MISSING_SCOPES", Means: UnauthorizedNotPermitted},
		},
		ReadPosts: []string{
			"/crm/v3/objects/*/search", "/crm/v3/objects/*/batch/read",
			"/crm/objects/*/*/search", "/crm/objects/*/*/batch/read", // versions by date
		},
	},
	"slack": {
		// Its errors come with status 200 (Slack, errors of its Web API methods).
		Spellings: []Spelling{{HTTPStatus: 200, Code: "token_expired", Means: UnauthorizedToken}},
	},
}

// Of returns the API of a provider by the catalogue's name, if the client knows it without
// being told.
func Of(provider string) Server { return servers[provider] }
