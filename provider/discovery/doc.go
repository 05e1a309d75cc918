// Package discovery reads what an authorization server says about itself (RFC 8414,
// OpenID Connect Discovery 1.0) and what an MCP server says about its authorization
// server (RFC 9728), and completes apps with it.
//
// Nothing that is read is believed twice. The first reading is pinned in the database and
// used by every process; a later one that differs waits there until an operator accepts
// it. So a document that somebody has changed cannot move a refresh token or a client
// secret to another host.
package discovery
