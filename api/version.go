package api

import (
	"context"
	"net/http"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/version"
)

// Version is the build of the server that answers.
type Version struct {
	_          struct{} `additionalProperties:"true"`
	Version    string   `json:"version" example:"v1.2.3" doc:"The release; unknown: the build did not record it"`
	Commit     string   `json:"commit" doc:"The commit that it was built from; -dirty at its end: and from changed files"`
	CommitTime string   `json:"commit_time" example:"2026-11-26T10:00:00Z" doc:"When the commit was made, RFC 3339"`
}

func (a *API) registerVersion() {
	register(a, operation{id: "getVersion", method: http.MethodGet, path: "/v1/version", tag: "server", scopes: reading, tenant: knowsNoOwner, summary: "Show which build of the server answers"}, getVersion)
}

type versionOutput struct{ Body Version }

func getVersion(context.Context, perennial.Access, *struct{}) (*versionOutput, error) {
	return &versionOutput{versionOf(version.Get())}, nil
}

func versionOf(i version.Info) Version {
	return Version{Version: i.Version, Commit: i.Commit, CommitTime: i.CommitTime}
}
