// Package wire has the JSON of the HTTP API that its server (package api) and its
// client (package client/remote) share, and the rule which access token may be handed
// out (see [TokenState.Usable]). The `doc`, `enum` and other tags describe the members
// in the API's OpenAPI document.
package wire
