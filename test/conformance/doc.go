// Package conformance holds tests against what is not ours: the refresh engine
// against an OAuth server built on ory/fosite, whose refresh tokens rotate and whose
// reuse detection ends the whole grant; the HTTP API against its own OpenAPI
// document, as pb33f/libopenapi reads it. It is a module of its own, so that the
// product never depends on them.
package conformance
