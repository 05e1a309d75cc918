// Package conformance tests against software that is not ours. The refresh engine runs
// against an OAuth server built on ory/fosite, whose refresh tokens rotate and whose
// reuse detection ends the whole grant. The HTTP API is checked against its own OpenAPI
// document, as pb33f/libopenapi reads it. The package is a module of its own, so that
// the product does not depend on either.
package conformance
